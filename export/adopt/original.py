"""The original file in its own interpreter, fed as its makers would: what the adapted file is proved against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.contract import EngineKind
from device.engines.factory import default_threads
from device.quiet import native_stderr_dropped
from export.adopt.errors import AdoptError
from export.adopt.interface import Interface

# From the model's input, batch and all, to (classes,) float32 as the model puts them out, de-quantised.
Original = Callable[[NDArray[np.generic]], NDArray[np.float32]]


def open_original(kind: EngineKind, model: bytes, interface: Interface) -> Original:
    """Load it.

    Raises:
        AdoptError: the runtime refuses it; running may raise the same.
    """
    try:
        return _open_tflite(model, interface) if kind is EngineKind.LITERT else _open_onnx(model, interface)
    except Exception as err:  # runtimes raise what they like
        raise _refused(err) from err


def _open_tflite(model: bytes, interface: Interface) -> Original:
    from ai_edge_litert.interpreter import Interpreter

    with native_stderr_dropped():
        interpreter: Any = Interpreter(model_content=model, num_threads=default_threads())
        (taken,) = interpreter.get_input_details()
        if tuple(taken["shape"]) != interface.input.shape:
            interpreter.resize_tensor_input(taken["index"], interface.input.shape)
        interpreter.allocate_tensors()
    (given,) = interpreter.get_output_details()
    quantisation = interface.output.quantisation

    def run(numbers: NDArray[np.generic]) -> NDArray[np.float32]:
        try:
            interpreter.set_tensor(taken["index"], numbers)
            interpreter.invoke()
        except (ValueError, RuntimeError) as err:
            raise _refused(err) from err
        raw = interpreter.get_tensor(given["index"]).reshape(-1).astype(np.float32)
        numbers_out = raw if quantisation is None else (raw - quantisation.zero_point) * quantisation.scale
        return np.asarray(numbers_out, np.float32)

    return run


def _open_onnx(model: bytes, interface: Interface) -> Original:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = default_threads(), 1
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(numbers: NDArray[np.generic]) -> NDArray[np.float32]:
        try:
            (raw,) = session.run(None, {interface.input.name: numbers})
        except Exception as err:  # onnxruntime's exceptions have no common root
            raise _refused(err) from err
        return np.asarray(raw, np.float32).reshape(-1)

    return run


def _refused(err: Exception) -> AdoptError:
    first = (str(err).strip().splitlines() or [type(err).__name__])[0]
    return AdoptError(f"its own runtime does not run the model: {first[:300]}")
