"""A classifier with the rounding of int8 in its graph, by tfmot (Jacob et al. 2017, arXiv:1712.05877).

Every kernel and every tensor between layers passes a fake quantisation. Its ranges are variables of the model, named
``..._min`` and ``..._max``. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from pipeline.backbones import Normalisation
from pipeline.errors import PipelineError

# A wrapped layer is called as the one it wraps, with this in front.
QUANTISED = "quant_"
_LEAST_WIDTH = 1e-3
_KERNELS = ("kernel", "depthwise_kernel")


def quantise(plain: tf_keras.Model) -> tf_keras.Model:
    """The same network with fake quantisation; its ranges mean nothing until ``fit_ranges``.

    Args:
        plain: flat, from ``build_classifier``; left as it is.

    Raises:
        PipelineError: tfmot cannot quantise one of its layers.
    """
    import tensorflow_model_optimization as tfmot

    try:
        return tfmot.quantization.keras.quantize_model(plain)
    except Exception as err:  # tfmot raises what its rewriting of the graph gives it
        reason = " ".join(str(err).split())[:200]
        raise PipelineError(
            f"quantisation-aware training cannot take this network ({reason}); leave qat out, or train with a "
            f"backbone that --list-backbones names qat for, and a head without batch norm"
        ) from err


def strip(quantised: tf_keras.Model, plain: tf_keras.Model) -> None:
    """Copy all weights, but for the ranges, into a plain classifier of the same architecture.

    Raises:
        PipelineError: it is of another.
    """
    found = {weight.name: weight for weight in quantised.weights}
    missing = [weight.name for weight in plain.weights if weight.name not in found]
    if missing:
        raise PipelineError(f"the quantised network has no {', '.join(missing[:3])}; compress it again")
    for weight in plain.weights:
        weight.assign(found[weight.name])


def kernels_of(model: tf_keras.Model) -> dict[str, Any]:
    """Kernel variables by the name of their layer, in a plain model or a quantised one."""
    found = {}
    for layer in model.layers:
        for weight in layer.weights:
            if _base(weight.name) in _KERNELS:
                found[layer.name.removeprefix(QUANTISED)] = weight
    return found


def fit_ranges(quantised: tf_keras.Model, plain: tf_keras.Model, batches: Iterator[Any]) -> None:
    """Ranges of all tensors between layers, as the mean over batches of the least and the largest value.

    tfmot's own moving average would take thousands of steps to get there from -6 to 6, and meanwhile cut off what the
    layers behind see.

    Args:
        quantised: from ``quantise``.
        plain: the same network with the same weights.
        batches: (b, height, width, 3) float32, normalised.
    """
    ranges = list(_activation_ranges(quantised))
    probe = tf_keras.Model(plain.input, [_tensor(plain, one) for one in ranges])

    @tf.function(reduce_retracing=True)
    def extremes(batch: Any) -> Any:
        tensors = probe(batch, training=False)
        return tf.stack([tf.stack([tf.reduce_min(tensor), tf.reduce_max(tensor)]) for tensor in tensors])

    found = np.mean([extremes(batch).numpy() for batch in batches], axis=0)
    for one, (least, largest) in zip(ranges, found, strict=True):
        # Zero has to be in it, and it must not be empty.
        one.low.assign(min(least, 0.0))
        one.high.assign(max(largest, one.low.numpy() + _LEAST_WIDTH, 0.0))
    fit_weight_ranges(quantised)


def fit_weight_ranges(quantised: tf_keras.Model) -> None:
    """Ranges of the kernels as they are now; those that tfmot stored are of the weights before the last step."""
    for layer in quantised.layers:
        named = {_base(weight.name): weight for weight in layer.weights}
        for kernel in _KERNELS:
            if kernel not in named or f"{kernel}_max" not in named:
                continue
            low, high = named[f"{kernel}_min"], named[f"{kernel}_max"]
            values = tf.abs(named[kernel])
            # Per output channel, or one for all; a depthwise kernel's last axis has one element.
            largest = tf.reduce_max(values, axis=range(len(values.shape) - len(high.shape)))
            largest = tf.maximum(largest, _LEAST_WIDTH)
            high.assign(largest)
            low.assign(-largest)


def quantised_pixels(pixels: Any, normalisation: Normalisation) -> Any:
    """``pipeline.model.normalise`` with ranges on its steps, so that a converter can do it in integers.

    Args:
        pixels: tensor (batch, height, width, 3) float32, RGB, whole numbers 0..255.

    Returns:
        the same shape, float32.
    """

    def in_range(values: Any, low: float, high: float) -> Any:
        return tf.quantization.fake_quant_with_min_max_args(values, low, high)

    values = in_range(pixels, 0.0, 255.0)
    if normalisation.bgr:
        values = values[..., ::-1]
    mean, scale = (np.array(part, np.float32) for part in (normalisation.mean, normalisation.scale))
    if (scale == 1.0).all():
        # Nothing comes after it but the network's own range, and a padding cannot have two.
        return values - mean
    # 256 steps of one from a whole number: no value moves by more than half a step.
    least = -float(np.ceil(mean.max()))
    centred = in_range(values - mean, least, least + 255.0)
    return centred / scale


class _Point(Enum):
    """Where tfmot measures a range; the values are names of its variables."""

    INPUT = "quantize_layer"
    BEFORE_ACTIVATION = "pre_activation"
    AFTER_ACTIVATION = "post_activation"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class _Range:
    layer: str
    point: _Point
    low: Any
    high: Any


def _activation_ranges(quantised: tf_keras.Model) -> Iterator[_Range]:
    for layer in quantised.layers:
        named = {_base(weight.name): weight for weight in layer.weights}
        for point in _Point:
            # The second model of a process has a quantize_layer_1.
            of_input = point is _Point.INPUT and layer.name.startswith(point.value)
            name = layer.name if of_input else point.value
            if f"{name}_min" in named:
                yield _Range(layer.name.removeprefix(QUANTISED), point, named[f"{name}_min"], named[f"{name}_max"])


def _tensor(plain: tf_keras.Model, one: _Range) -> Any:
    if one.point is _Point.INPUT:
        return plain.input
    layer = plain.get_layer(one.layer)
    if one.point is not _Point.BEFORE_ACTIVATION:
        return layer.output
    linear = type(layer).from_config({**layer.get_config(), "activation": "linear", "name": f"{layer.name}_linear"})
    tensor = linear(layer.input)
    linear.set_weights(layer.get_weights())
    return tensor


def _base(name: str) -> str:
    return name.split(":")[0].rsplit("/", 1)[-1]
