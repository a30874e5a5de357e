"""TFLite files for LiteRT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.convert import pixels_to_probabilities
from export.errors import ConversionError
from export.recipe import Recipe
from pipeline.trained import TrainedClassifier


def convert_tflite(
    trained: TrainedClassifier, recipe: Recipe, calibration: Callable[[], Iterator[NDArray[np.uint8]]]
) -> bytes:
    """Convert to a file with uint8 pixels in and probabilities out (float32, or uint8 for int8 recipes).

    Args:
        trained: the float model.
        recipe: FLOAT32, or STATIC_INT8: weights per channel and activations per tensor, all integer.
        calibration: gives photos anew at each call, (height, width, 3) uint8 RGB, from train only, together spanning
            0 to 255.

    Raises:
        ConversionError: the converter refused.
    """
    quantised = recipe.needs_calibration
    # The integer converter quantises the input itself and wants to see it as float.
    function = pixels_to_probabilities(trained, tf.float32 if quantised else tf.uint8)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if quantised:
        _make_integer(converter, calibration)
    try:
        return bytes(converter.convert())
    except Exception as err:  # the converter raises what its MLIR passes give it
        raise ConversionError(
            f"TFLite {recipe.value}: {str(err).strip().splitlines()[0]}; see log.txt in the run"
        ) from err


def _make_integer(converter: Any, calibration: Callable[[], Iterator[NDArray[np.uint8]]]) -> None:
    def photos() -> Iterator[list[NDArray[np.float32]]]:
        for pixels in calibration():
            yield [pixels[np.newaxis].astype(np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = photos
    # No other operators: a float one left in between would be slow on a CPU and refused by an accelerator.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
