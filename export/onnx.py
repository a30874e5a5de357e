"""ONNX files for ONNX Runtime."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from export.bias_correction import Rounding
from export.convert import input_spec, pixels_to_probabilities
from export.errors import refusals
from export.mixed import LayerQuantizer
from export.onnx_quantizer import OnnxQuantizer, saturates_here
from export.recipe import Recipe, Weights
from export.source import Source
from pipeline.trained import TrainedClassifier

# tf2onnx refuses 19 and up; 13 and up have per-channel quantisation.
_OPSET = 17


def convert_onnx(source: Source, recipe: Recipe) -> bytes:
    """Convert to a file with uint8 pixels in and float32 probabilities out.

    Args:
        source: of the float model and its calibration photos.
        recipe: how numbers are represented; integers by quantise-dequantise (QDQ) pairs.

    Raises:
        ConversionError: the converter refused.
    """
    with refusals(f"ONNX {recipe.text}"):
        return _convert(source, recipe)


def onnx_layers(source: Source) -> LayerQuantizer:
    """For a search of the layers that must stay in float.

    Raises:
        ConversionError: the converter refused.
    """
    with refusals(f"ONNX {Recipe.MIXED_INT8.text}"):
        return _quantizer(source, Recipe.MIXED_INT8)


def _convert(source: Source, recipe: Recipe) -> bytes:
    if recipe is Recipe.FLOAT32:
        return bytes(_to_onnx(source.trained).SerializeToString())
    if recipe is Recipe.FLOAT16:
        return _to_float16(_to_onnx(source.trained))
    return _quantizer(source, recipe).quantise()


def _quantizer(source: Source, recipe: Recipe) -> OnnxQuantizer:
    assert recipe.ranges is not None
    return OnnxQuantizer(
        lambda in_float: _to_onnx(source.corrected(_rounding(recipe, in_float))),
        source.photos(),
        recipe.ranges,
        recipe.weights is Weights.INT8,
    )


def _rounding(recipe: Recipe, in_float: frozenset[str] = frozenset()) -> Rounding:
    # With a reduced range onnxruntime rounds weights to -64..64.
    return Rounding(64 if saturates_here() else 127, recipe.weights is Weights.INT8, in_float=in_float)


def _to_onnx(trained: TrainedClassifier) -> Any:
    import tf2onnx

    spec = input_spec(trained, tf.uint8)
    function = tf.function(pixels_to_probabilities(trained, tf.uint8), input_signature=[spec])
    proto, _ = tf2onnx.convert.from_function(function, input_signature=[spec], opset=_OPSET)
    return proto


def _to_float16(proto: Any) -> bytes:
    """For GPUs; a CPU computes it in float32 with conversions in between."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return bytes(convert_float_to_float16(proto, keep_io_types=True).SerializeToString())
