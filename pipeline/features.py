"""Cutting the classifier where fine-tuning starts, and running the frozen part once. Imports TensorFlow.

The lower part never changes while the upper is trained, so its activations are computed once per view, by LiteRT, and
kept on disk; training epochs pay for the upper part only.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.views import augment
from pipeline.backbones import Normalisation
from pipeline.errors import TrainingError
from pipeline.extract import Extractor
from pipeline.frozen import convert_frozen
from pipeline.model import normalise

_BATCH = 32


@dataclass(frozen=True, slots=True)
class CutClassifier:
    """A classifier in two parts that share its weights.

    Attributes:
        lower: normalised pixels -> activations at the cut; frozen.
        upper: activations -> probabilities.
        features: activations -> pooled features, what the head sees.
    """

    lower: tf_keras.Model
    upper: tf_keras.Model
    features: tf_keras.Model


def cut(classifier: tf_keras.Model, first_upper_layer: str, last_feature_layer: str) -> CutClassifier:
    """Cut a flat classifier before a layer.

    Args:
        classifier: from ``build_classifier``.
        first_upper_layer: everything computed from this layer's input on is the upper part; nothing after it may
            use a tensor from before it.
        last_feature_layer: whose output the head classifies.
    """
    tensor = classifier.get_layer(first_upper_layer).input
    pooled = classifier.get_layer(last_feature_layer).output
    return CutClassifier(
        lower=tf_keras.Model(classifier.input, tensor),
        upper=tf_keras.Model(tensor, classifier.output),
        features=tf_keras.Model(tensor, pooled),
    )


def convert_lower(parts: CutClassifier, normalisation: Normalisation) -> bytes:
    """The lower part as float TFLite, (1, height, width, 3) uint8 RGB -> activations at the cut."""

    def lower(pixels: Any) -> Any:
        return parts.lower(normalise(pixels, normalisation), training=False)

    return convert_frozen(lower, (1, *parts.lower.input_shape[1:]), tf.uint8)


def draw_views(
    pixels: NDArray[np.uint8], config: AugmentConfig, seed: int, count: int
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Several views of every photo, as whole steps of colour, which is what a board would see.

    Args:
        pixels: (n, height, width, 3) uint8 RGB.
        config: distributions of the random views.
        seed: of the random views.
        count: views of each photo; view 0 is the photo itself.

    Yields:
        view, index of the first photo, (b, height, width, 3) uint8 RGB.
    """

    @tf.function(reduce_retracing=True)
    def random_view(batch: Any, batch_seed: Any) -> Any:
        return tf.cast(tf.round(augment(batch, batch_seed, config)), tf.uint8)

    for view in range(count):
        for start in range(0, len(pixels), _BATCH):
            batch = pixels[start : start + _BATCH]
            if view > 0:
                batch = random_view(tf.constant(batch), tf.constant([seed + view, start], tf.int32)).numpy()
            yield view, start, batch


class ViewStore:
    """Activations of the lower part for several views of each photo, as float16 in a nameless file.

    The file has no name, so nothing is left of it when the process is killed.

    Args:
        folder: on a disk with room for it.
        views: how many.
        photos: how many.
        shape: of one activation.

    Attributes:
        activations: (views, photos, ...) float16.

    Raises:
        TrainingError: the disk has no room.
    """

    def __init__(self, folder: Path, views: int, photos: int, shape: tuple[int, ...]) -> None:
        size_bytes = np.dtype(np.float16).itemsize * views * photos * math.prod(shape)
        with tempfile.TemporaryFile(dir=folder) as stream:
            try:
                # Taken now: a disk that fills up under a memory map kills the process without a word.
                os.posix_fallocate(stream.fileno(), 0, size_bytes)
            except OSError as err:
                raise TrainingError(
                    f"{folder}: {size_bytes / 1e9:.1f} GB are needed for a while ({err.strerror}); free some space, "
                    f"or name another folder with EDGEGRAFT_CACHE"
                ) from err
            self.activations = np.memmap(stream, np.float16, "r+", shape=(views, photos, *shape))

    def put(
        self, lower: Extractor, view: int, first: int, pixels: NDArray[np.uint8], on_photo: Callable[[], None]
    ) -> None:
        """Run the lower part over one view of some photos.

        Args:
            lower: of ``convert_lower``.
            view: which.
            first: index of the first photo.
            pixels: (b, height, width, 3) uint8 RGB.
            on_photo: called after each.
        """
        for index, activation in enumerate(lower(pixels, on_photo=on_photo)):
            self.activations[view, first + index] = activation


class Forward:
    """A model as a function of arrays, in batches; traced once however often it is called.

    Args:
        model: its outputs are wanted as they are at the time of each call.
    """

    def __init__(self, model: tf_keras.Model) -> None:
        @tf.function(reduce_retracing=True)
        def forward(batch: Any) -> Any:
            return model(tf.cast(batch, tf.float32), training=False)

        self._forward = forward

    def __call__(self, inputs: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Outputs, float32, for (n, ...) inputs."""
        starts = range(0, len(inputs), _BATCH)
        return np.concatenate([self._forward(tf.constant(inputs[start : start + _BATCH])).numpy() for start in starts])
