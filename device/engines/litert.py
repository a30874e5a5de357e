"""LiteRT, the runtime of ``.tflite`` files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.closing import Closing
from device.contract import TensorSpec
from device.engines.base import as_probabilities
from device.errors import EngineError
from device.quiet import native_stderr_dropped


class LiteRtEngine(Closing):
    """A TFLite model with one uint8 input and one float32 or quantised output; see ``Engine``.

    Raises:
        EngineError: the bytes are not a model, hold an operator that LiteRT lacks, or other than one input and output.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            # LiteRT announces its XNNPACK delegate on descriptor 2.
            with native_stderr_dropped():
                self._interpreter: Any = Interpreter(model_content=model, num_threads=threads)
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


def _spec(details: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(side) for side in details["shape"])
    return TensorSpec(name=details["name"], shape=shape, dtype=np.dtype(details["dtype"]).name)


def _first_line(err: Exception) -> str:
    return str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
