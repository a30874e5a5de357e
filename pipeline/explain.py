"""Where a classifier looked: heat maps over a photo. TensorFlow is imported by the gradients only.

Grad-CAM: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".
CAM: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization"; the same map, up to its scale, where
the head is global average pooling and one dense layer.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.backbones import Normalisation

# Of softmax's input: gradients of probabilities vanish where the model is sure.
_LOGITS = "logits"
_BATCH = 16
_OPACITY = 0.55


def gradient_heatmaps(
    model: Any,
    normalisation: Normalisation,
    pixels: NDArray[np.uint8],
    classes_wanted: NDArray[np.int64],
    feature_layer: str,
) -> NDArray[np.float32]:
    """Grad-CAM.

    Args:
        model: a flat tf_keras classifier with a dense layer ``logits``.
        normalisation: of its backbone.
        pixels: (n, height, width, 3) uint8 RGB.
        classes_wanted: (n,) integers, the class whose evidence to show, for each photo.
        feature_layer: whose output, (batch, h, w, channels), to explain with; see ``last_feature_layer``.

    Returns:
        (n, height, width) float32, 0 to 1, the strongest place of each photo 1; all 0 where nothing speaks for it.
    """
    import tensorflow as tf
    import tf_keras

    from pipeline.model import normalise

    parts = tf_keras.Model(model.input, [model.get_layer(feature_layer).output, model.get_layer(_LOGITS).output])
    found = []
    for start in range(0, len(pixels), _BATCH):
        inputs = normalise(tf.constant(pixels[start : start + _BATCH]), normalisation)
        wanted = tf.constant(classes_wanted[start : start + _BATCH], tf.int32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            maps, logits = parts(inputs, training=False)
            evidence = tf.gather(logits, wanted, axis=1, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(evidence, maps), axis=(1, 2), keepdims=True)
        found.append(tf.reduce_sum(weights * maps, axis=-1).numpy())
    height, width = pixels.shape[1:3]
    return _heat(np.concatenate(found), (height, width)) if found else np.empty((0, height, width), np.float32)


def linear_heatmaps(
    maps: NDArray[np.floating[Any]],
    kernel: NDArray[np.floating[Any]],
    classes_wanted: NDArray[np.int64],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """CAM: ``gradient_heatmaps`` without gradients, for a head of global average pooling and one dense layer.

    Args:
        maps: (n, h, w, channels), what the head pools.
        kernel: (channels, classes) of the dense layer.
        classes_wanted: (n,) integers.
        size: (height, width) of the photos.

    Returns:
        (n, height, width) float32, 0 to 1.
    """
    if not len(maps):
        return np.empty((0, *size), np.float32)
    return _heat(np.einsum("nhwc,cn->nhw", maps.astype(np.float32), kernel[:, classes_wanted]), size)


def last_feature_layer(model: Any) -> str:
    """The name of the last layer whose output has places, (batch, h, w, channels): what Grad-CAM explains best.

    Raises:
        ValueError: the model has none.
    """
    for layer in reversed(model.layers):
        shape = layer.output_shape
        if isinstance(shape, tuple) and len(shape) == 4:
            return str(layer.name)
    raise ValueError(f"{model.name}: no layer gives (batch, h, w, channels); there are no places to point at")


def overlay(photo: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A photo under its heat map.

    Args:
        photo: (height, width, 3) uint8 RGB.
        heat: (height, width) float32, 0 to 1.

    Returns:
        (height, width, 3) uint8 RGB: the photo in grey, so that every colour is heat; dark is none, yellow the most.
    """
    colours = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    blended: NDArray[np.uint8] = np.rint(grey * (1 - _OPACITY) + colours * _OPACITY).astype(np.uint8)
    return blended


def _heat(evidence: NDArray[np.floating[Any]], size: tuple[int, int]) -> NDArray[np.float32]:
    """(n, h, w) of any scale and sign -> (n, height, width) 0 to 1."""
    positive = np.maximum(evidence, 0).astype(np.float32)
    grown = np.stack([cv2.resize(one, (size[1], size[0]), interpolation=cv2.INTER_CUBIC) for one in positive])
    grown = np.maximum(grown, 0)
    most = grown.max(axis=(1, 2), keepdims=True)
    # Evidence that is noise of float arithmetic is none.
    heat: NDArray[np.float32] = np.where(most > 1e-12, grown / np.maximum(most, 1e-12), 0).astype(np.float32)
    return heat
