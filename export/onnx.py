"""ONNX files for ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.convert import input_spec, pixels_to_probabilities
from export.errors import ConversionError
from export.recipe import Recipe
from pipeline.trained import TrainedClassifier

# tf2onnx refuses 19 and up; 13 and up have per-channel quantisation.
_OPSET = 17


def convert_onnx(
    trained: TrainedClassifier, recipe: Recipe, calibration: Callable[[], Iterator[NDArray[np.uint8]]]
) -> bytes:
    """Convert to a file with uint8 pixels in and float32 probabilities out.

    Args:
        trained: the float model.
        recipe: FLOAT32, or STATIC_INT8: quantise-dequantise (QDQ) pairs, weights per channel.
        calibration: gives photos anew at each call, (height, width, 3) uint8 RGB, from train only.

    Raises:
        ConversionError: the converter refused, or the result does not load.
    """
    try:
        proto = _to_onnx(trained)
        if recipe.needs_calibration:
            return _quantise(proto, calibration())
        return bytes(proto.SerializeToString())
    except Exception as err:  # tf2onnx and the quantiser raise whatever goes wrong inside
        first = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise ConversionError(f"ONNX {recipe.value}: {first}; see log.txt in the run") from err


def _to_onnx(trained: TrainedClassifier) -> Any:
    import tf2onnx

    spec = input_spec(trained, tf.uint8)
    function = tf.function(pixels_to_probabilities(trained, tf.uint8), input_signature=[spec])
    proto, _ = tf2onnx.convert.from_function(function, input_signature=[spec], opset=_OPSET)
    return proto


def _quantise(proto: Any, calibration: Iterator[NDArray[np.uint8]]) -> bytes:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        plain, prepared, quantised = (Path(scratch) / f"{name}.onnx" for name in ("plain", "prepared", "quantised"))
        onnx.save(proto, plain)
        # Symbolic shapes need sympy and bring nothing: every shape is fixed.
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantised),
            _PhotoReader(calibration, proto.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            reduce_range=_saturates_here(),
            calibrate_method=CalibrationMethod.MinMax,
        )
        return quantised.read_bytes()


class _PhotoReader:
    """onnxruntime's CalibrationDataReader: one photo at a time, then None."""

    def __init__(self, calibration: Iterator[NDArray[np.uint8]], input_name: str) -> None:
        self._photos = calibration
        self._input_name = input_name

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        pixels = next(self._photos, None)
        return None if pixels is None else {self._input_name: pixels[np.newaxis]}


def _saturates_here() -> bool:
    # x86 without VNNI adds pairs of uint8 x int8 products in 16 bits and loses about 6 points of top-1 to it:
    # there weights get 7 bits. ARM and newer x86 add in 32 bits.
    flags = Path("/proc/cpuinfo").read_text(errors="replace")
    is_x86 = "GenuineIntel" in flags or "AuthenticAMD" in flags
    return is_x86 and "avx512_vnni" not in flags and "avx_vnni" not in flags
