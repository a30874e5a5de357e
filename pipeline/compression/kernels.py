"""The kernels of a classifier that pruning and clustering work on, and their scale. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

from pipeline.model import LOGITS

_PICTURE_CHANNELS = 3


def compressible(model: tf_keras.Model) -> tuple[str, ...]:
    """Names of the layers whose kernels are worth pruning and clustering.

    Left alone are depthwise kernels (3 % of MobileNetV2's weights, each of which decides a whole channel), the layer
    that sees the picture and the one that gives the logits: all three are small and the first to cost accuracy.

    Args:
        model: flat, from ``build_classifier``.
    """
    return tuple(layer.name for layer in model.layers if _is_compressible(layer))


def _is_compressible(layer: Any) -> bool:
    # Depthwise and transposed convolutions are subclasses.
    if type(layer) is layers.Conv2D:
        return int(layer.kernel.shape[2]) != _PICTURE_CHANNELS
    return type(layer) is layers.Dense and layer.name != LOGITS


def equalise(model: tf_keras.Model, keep: tuple[str, ...] = ()) -> None:
    """Scale every output channel of a convolution to a largest weight of 1; the batch norm behind it takes the factor.

    The network computes the same as before. Its depthwise kernels, which tfmot rounds with one scale for all channels,
    then lose no more than with a scale each; and clusters of a whole kernel become the same few int8 values in every
    channel, which is what makes a file with them compress.

    Args:
        model: flat; batch norm is used with its stored statistics from here on.
        keep: layers whose kernels stay as they are.
    """
    for norm in model.layers:
        if not isinstance(norm, layers.BatchNormalization) or not (norm.scale and norm.center):
            continue
        layer = norm.input.node.layer
        if (
            isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)
            and layer.name not in keep
            and len(layer.outbound_nodes) == 1
        ):
            _equalise(layer, norm)


def _equalise(layer: Any, norm: Any) -> None:
    kernel, *bias = layer.get_weights()
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    # (h, w, channels, multiplier) of a depthwise kernel has its outputs in the last two axes.
    axes = (0, 1) if depthwise else (0, 1, 2)
    largest = np.abs(kernel).max(axis=axes, keepdims=True)
    largest[largest == 0] = 1.0
    factor = largest.reshape(-1)
    gamma, beta, mean, variance = norm.get_weights()
    layer.set_weights([kernel / largest, *(values / factor for values in bias)])
    norm.set_weights([gamma * factor, beta, mean / factor, variance])


def sparsity(kernel: NDArray[np.float32]) -> float:
    """Share of the weights that are zero."""
    return float((kernel == 0).mean())


def distinct(kernel: NDArray[np.float32]) -> int:
    """How many different values there are."""
    return len(np.unique(kernel))
