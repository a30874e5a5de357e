"""Bias correction: what rounding the weights does to the mean of every channel is taken back. Imports TensorFlow.

Rounding a channel's weights to 8 bits shifts the mean of its output, for its inputs are mostly positive behind a ReLU;
fine-tuned MobileNets lose points to that alone (Nagel, van Baalen, Blankevoort, Welling 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction", arXiv:1906.04721, section 4.2). A convolution is linear, so the shift
is the convolution of the mean input with the rounding error, and one pass over the calibration photos gives it for
every layer. The corrected model is worse in float, and better once its weights are rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

from pipeline.model import normalise
from pipeline.trained import TrainedClassifier

# Maps of all layers are held for so many photos.
_BATCH = 4
# The means are settled long before.
_MOST_PHOTOS = 100


@dataclass(frozen=True, slots=True)
class Rounding:
    """How weights become integers.

    Attributes:
        levels: largest integer, 127 for 8 bits.
        per_channel: a scale for every output channel; else one for the tensor.
        least_weights: smaller tensors stay as they are.
        in_float: operators of the converted file that stay as they are; their names hold those of the layers.
    """

    levels: int = 127
    per_channel: bool = True
    least_weights: int = 0
    in_float: frozenset[str] = frozenset()


class BiasCorrector:
    """Makes copies of a classifier whose biases make up for what rounding its weights will do.

    Args:
        trained: the float model; stays as it is.
        photos: (n, height, width, 3) uint8 RGB, from train only.
    """

    def __init__(self, trained: TrainedClassifier, photos: NDArray[np.uint8]) -> None:
        self._trained = trained
        self._photos = photos[:_MOST_PHOTOS]

    def corrected(self, rounding: Rounding) -> TrainedClassifier:
        """A copy for this rounding."""
        model = tf_keras.models.clone_model(self._trained.model)
        model.set_weights(self._trained.model.get_weights())
        for layer in _weighted(model):
            if _is_rounded(layer, rounding):
                _take_back(layer, _shift(layer, self._means[layer.name], rounding))
        return replace(self._trained, model=model)

    @cached_property
    def _means(self) -> dict[str, NDArray[np.float32]]:
        """Mean over the photos of what goes into each layer, (height, width, channels) or (features,), by its name."""
        found, normalisation = _weighted(self._trained.model), self._trained.normalisation
        probe = tf_keras.Model(self._trained.model.input, [layer.input for layer in found])

        @tf.function(input_signature=[tf.TensorSpec((None, *self._photos.shape[1:]), tf.uint8)])
        def sums(batch: Any) -> list[Any]:
            taken = probe(normalise(batch, normalisation), training=False)
            return [tf.reduce_sum(maps, axis=0) for maps in tf.nest.flatten(taken)]

        totals = [np.zeros(layer.input_shape[1:], np.float32) for layer in found]
        for start in range(0, len(self._photos), _BATCH):
            for total, part in zip(totals, sums(self._photos[start : start + _BATCH]), strict=True):
                total += part.numpy()
        count = np.float32(len(self._photos))
        return {layer.name: total / count for layer, total in zip(found, totals, strict=True)}


def _weighted(model: tf_keras.Model) -> list[layers.Layer]:
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    return [layer for layer in model.layers if isinstance(layer, kinds)]


def _is_rounded(layer: layers.Layer, rounding: Rounding) -> bool:
    if any(f"/{layer.name}/" in name for name in rounding.in_float):
        return False
    return int(np.prod(layer.weights[0].shape)) >= rounding.least_weights


def _shift(layer: layers.Layer, mean: NDArray[np.float32], rounding: Rounding) -> NDArray[np.float32]:
    """(channels,) float32: how far rounding moves the mean of each output channel."""
    kernel = layer.weights[0].numpy()
    factor = _fold_factor(layer)
    # Depthwise kernels are (h, w, channels, 1), all others have the output channel last.
    shaped = factor[:, np.newaxis] if isinstance(layer, layers.DepthwiseConv2D) else factor
    error = (_rounded(kernel * shaped, layer, rounding) - kernel * shaped) / shaped
    moved = _apply(layer, mean[np.newaxis], error.astype(np.float32))
    means: NDArray[np.float32] = np.asarray(moved, np.float32).reshape(-1, moved.shape[-1]).mean(axis=0)
    return means


def _fold_factor(layer: layers.Layer) -> NDArray[np.float32]:
    """(channels,) float32: what folding the batch norm behind it will multiply each channel's weights by."""
    norm = _norm_behind(layer)
    if norm is None:
        return np.ones(layer.output_shape[-1], np.float32)
    gamma = norm.gamma.numpy() if norm.scale else 1.0
    factor = np.asarray(gamma / np.sqrt(norm.moving_variance.numpy() + norm.epsilon), np.float32)
    # A channel that the norm switches off is rounded to nothing and shifts nothing.
    return np.where(np.abs(factor) < 1e-12, np.float32(1e-12), factor)


def _rounded(kernel: NDArray[np.float32], layer: layers.Layer, rounding: Rounding) -> NDArray[np.float32]:
    """Symmetric rounding, as the converters do it."""
    axes: tuple[int, ...] | None = None
    if rounding.per_channel:
        axes = (0, 1) if isinstance(layer, layers.DepthwiseConv2D) else tuple(range(kernel.ndim - 1))
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / rounding.levels
    scale = np.where(scale == 0.0, 1.0, scale)
    return np.asarray(np.round(kernel / scale) * scale, np.float32)


def _apply(layer: layers.Layer, inputs: NDArray[np.float32], kernel: NDArray[np.float32]) -> Any:
    """The layer's linear part with another kernel."""
    if isinstance(layer, layers.DepthwiseConv2D):
        strides = (1, *layer.strides, 1)
        return tf.nn.depthwise_conv2d(inputs, kernel, strides, layer.padding.upper(), dilations=layer.dilation_rate)
    if isinstance(layer, layers.Conv2D):
        return tf.nn.conv2d(inputs, kernel, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)
    return tf.matmul(inputs, kernel)


def _take_back(layer: layers.Layer, shift: NDArray[np.float32]) -> None:
    norm = _norm_behind(layer)
    if norm is not None:
        norm.moving_mean.assign_add(shift)
    elif layer.use_bias:
        layer.bias.assign_sub(shift)


def _norm_behind(layer: layers.Layer) -> layers.BatchNormalization | None:
    """The batch norm that takes this layer's output and is the only one to do so."""
    taken_by = [node.layer for node in layer.outbound_nodes]
    return taken_by[0] if len(taken_by) == 1 and isinstance(taken_by[0], layers.BatchNormalization) else None
