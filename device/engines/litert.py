"""LiteRT, the runtime of ``.tflite`` files, on the CPU (XNNPACK) or on a Coral Edge TPU."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.closing import Closing
from device.contract import TensorSpec
from device.engines.base import Accelerator, as_probabilities
from device.errors import EngineError
from device.quiet import native_stderr_dropped

# What Coral's compiler puts in the place of everything that the Edge TPU computes.
_EDGETPU_OPERATOR = b"edgetpu-custom-op"
_EDGETPU_LIBRARY = "libedgetpu.so.1"


class LiteRtEngine(Closing):
    """A TFLite model with one uint8 input and one float32 or quantised output; see ``Engine``.

    Pixels are copied into the interpreter, 4 us of MobileNetV2's 3,400 at 224 pixels: views of its memory would save
    no more than that, and dangle once it is closed.

    Args:
        model: the file's bytes.
        threads: of the CPU.
        accelerator: CPU or EDGETPU.

    Raises:
        EngineError: the bytes are not a model, hold an operator that LiteRT lacks, or other than one input and
            output; the file is of the other accelerator, or the Edge TPU or its library is missing.
    """

    def __init__(self, model: bytes, threads: int, accelerator: Accelerator = Accelerator.CPU) -> None:
        from ai_edge_litert.interpreter import Interpreter

        _require_compiled_for(model, accelerator)
        delegates = [_edgetpu()] if accelerator is Accelerator.EDGETPU else None
        self.threads, self.accelerator = threads, accelerator
        try:
            # LiteRT announces its XNNPACK delegate on descriptor 2.
            with native_stderr_dropped():
                self._interpreter: Any = Interpreter(
                    model_content=model, num_threads=threads, experimental_delegates=delegates
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as err:
            raise EngineError(f"LiteRT cannot load the model: {_first_line(err)}") from err
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(f"the model has {len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]
        self._scale, self._zero_point = outputs[0]["quantization"]

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine.run``."""
        try:
            self._interpreter.set_tensor(self._input_index, pixels[np.newaxis])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as err:
            raise EngineError(f"LiteRT failed: {_first_line(err)}") from err
        raw = self._interpreter.get_tensor(self._output_index)[0].astype(np.float32)
        return as_probabilities((raw - self._zero_point) * self._scale if self._scale else raw)

    def close(self) -> None:
        """See ``Engine.close``."""
        self._interpreter = None


def accelerator_of(model: bytes) -> Accelerator:
    """Where a TFLite file can run: one that Coral's compiler has made runs on the Edge TPU only, others on the CPU."""
    return Accelerator.EDGETPU if _EDGETPU_OPERATOR in model else Accelerator.CPU


def _require_compiled_for(model: bytes, accelerator: Accelerator) -> None:
    made_for = accelerator_of(model)
    if made_for is accelerator:
        return
    if made_for is Accelerator.EDGETPU:
        raise EngineError("the model is compiled for a Coral Edge TPU and was to run on the CPU; name another variant")
    if accelerator is Accelerator.EDGETPU:
        raise EngineError("the model is not compiled for the Edge TPU; compile its int8 variant with edgetpu_compiler")
    raise EngineError(f"LiteRT runs models on the CPU or an Edge TPU, not on {accelerator.value}")


def _edgetpu() -> Any:
    from ai_edge_litert.interpreter import load_delegate

    try:
        ctypes.CDLL(_EDGETPU_LIBRARY)  # load_delegate leaves half an object behind that complains when it is freed
        return load_delegate(_EDGETPU_LIBRARY)
    except OSError as err:
        raise EngineError(
            f"the model is compiled for a Coral Edge TPU, whose library cannot be loaded ({_first_line(err)}); "
            f"install Coral's package libedgetpu1-std, or name another variant"
        ) from err
    except ValueError as err:
        raise EngineError(
            f"the Edge TPU does not answer ({_first_line(err)}); is it plugged in, and may this user open it?"
        ) from err


def _spec(details: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(side) for side in details["shape"])
    return TensorSpec(name=details["name"], shape=shape, dtype=np.dtype(details["dtype"]).name)


def _first_line(err: Exception) -> str:
    return str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
