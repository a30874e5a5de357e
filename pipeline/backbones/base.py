"""What a backbone is. Importing this imports no TensorFlow; building one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What a network's weights expect of a pixel: ``(x - mean) / scale`` per channel, after an optional swap to BGR.

    Attributes:
        mean: per channel in the network's order, 0..255.
        scale: the same for all channels.
        bgr: the network was trained on blue first.
    """

    mean: tuple[float, float, float]
    scale: float
    bgr: bool = False


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network up to its last convolution.

    Attributes:
        name: as on the command line.
        default_size: side of the square input in pixels.
        least_size: smallest side that leaves something to pool.
        normalisation: applied before training and, at export, inside the graph.
        unfreeze_from: the first layer that fine-tuning trains; all before it stay frozen.
        build: from (height, width, 3) to a flat tf_keras.Model with random weights; float32 in, already normalised,
            (batch, h, w, channels) out.
        load_imagenet: fills such a model; raises WeightsError.
    """

    name: str
    default_size: int
    least_size: int
    normalisation: Normalisation
    unfreeze_from: str
    build: Callable[[tuple[int, int, int]], Any]
    load_imagenet: Callable[[Any], None]

    def load_weights(self, model: Any, weights: str) -> None:
        """Fill a model made by ``build``.

        Args:
            model: its weights are replaced.
            weights: ``imagenet`` or the path of a Keras weights file without top.

        Raises:
            WeightsError: missing, damaged, of another architecture, or not to be downloaded.
        """
        if weights == "imagenet":
            self.load_imagenet(model)
            return
        from pipeline.backbones.weights_file import load_keras_file

        load_keras_file(model, Path(weights), self.name)
