"""TFLite files for LiteRT, made by TensorFlow's converter and, where that cannot, by the AI Edge Quantizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.bias_correction import Rounding
from export.convert import INPUT_NAME, pixels_to_probabilities
from export.edge_quantizer import EdgeQuantizer
from export.errors import refusals
from export.mixed import LayerQuantizer
from export.recipe import Activations, Recipe, Weights
from export.source import Source
from pipeline.compression.load import CompressedClassifier
from pipeline.compression.quantisation import quantised_pixels
from pipeline.frozen import frozen_function
from pipeline.trained import TrainedClassifier

# TensorFlow's converter leaves smaller tensors in float when it quantises weights alone.
_LEAST_DYNAMIC_WEIGHTS = 1024


def convert_tflite(source: Source, recipe: Recipe) -> bytes:
    """Convert to a file with uint8 pixels in and probabilities out (float32, or quantised where all is integer).

    Args:
        source: of the float model and its calibration photos.
        recipe: how numbers are represented.

    Raises:
        ConversionError: the converter refused.
    """
    with refusals(f"TFLite {recipe.text}"):
        return _CONVERSIONS[recipe](source, recipe)


def tflite_layers(source: Source) -> LayerQuantizer:
    """For a search of the layers that must stay in float.

    Raises:
        ConversionError: the converter refused.
    """
    with refusals(f"TFLite {Recipe.MIXED_INT8.text}"):
        return _edge_quantizer(source, Recipe.MIXED_INT8)


def _converter(trained: TrainedClassifier, dtype: Any) -> Any:
    return tf.lite.TFLiteConverter.from_concrete_functions([pixels_to_probabilities(trained, dtype)])


def _float32(source: Source, recipe: Recipe) -> bytes:
    return bytes(_converter(source.trained, tf.uint8).convert())


def _float16(source: Source, recipe: Recipe) -> bytes:
    converter = _converter(source.trained, tf.uint8)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def _dynamic(source: Source, recipe: Recipe) -> bytes:
    converter = _converter(source.corrected(Rounding(least_weights=_LEAST_DYNAMIC_WEIGHTS)), tf.uint8)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def _integer(source: Source, recipe: Recipe) -> bytes:
    if isinstance(source.trained, CompressedClassifier) and source.trained.quantised:
        return _integer_by_trained_ranges(source.trained)
    # The integer converter quantises the input itself and wants to see it as float.
    rounding = Rounding(per_channel=recipe.weights is Weights.INT8)
    converter = _converter(source.corrected(rounding), tf.float32)

    def photos() -> Iterator[list[NDArray[np.float32]]]:
        for pixels in source.photos():
            yield [pixels[np.newaxis].astype(np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = photos
    # No other operators: a float one left in between would be slow on a CPU and refused by an accelerator.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    converter._experimental_disable_per_channel = recipe.weights is Weights.INT8_PER_TENSOR
    return bytes(converter.convert())


def _integer_by_trained_ranges(trained: CompressedClassifier) -> bytes:
    """What quantisation-aware training left: its ranges are in the graph, no photo is needed."""

    def classify(pixels: Any) -> Any:
        return trained.model(quantised_pixels(pixels, trained.normalisation), training=False)

    function = frozen_function(classify, (1, *trained.size, 3), tf.float32, INPUT_NAME)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def _int16x8(source: Source, recipe: Recipe) -> bytes:
    return _edge_quantizer(source, recipe).quantise()


def _edge_quantizer(source: Source, recipe: Recipe) -> EdgeQuantizer:
    def model(in_float: frozenset[str]) -> bytes:
        return bytes(_converter(source.corrected(Rounding(in_float=in_float)), tf.uint8).convert())

    return EdgeQuantizer(model, source.photos(), 16 if recipe.activations is Activations.INT16 else 8)


_CONVERSIONS: dict[Recipe, Callable[[Source, Recipe], bytes]] = {
    Recipe.FLOAT32: _float32,
    Recipe.FLOAT16: _float16,
    Recipe.DYNAMIC_INT8: _dynamic,
    Recipe.STATIC_INT8: _integer,
    Recipe.STATIC_INT8_PER_TENSOR: _integer,
    Recipe.INT16X8: _int16x8,
}
