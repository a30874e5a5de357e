"""ONNX Runtime, the runtime of ``.onnx`` files; the extra ``edgegraft[onnx]`` brings it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.closing import Closing
from device.contract import TensorSpec
from device.engines.base import as_probabilities
from device.errors import EngineError

_FATAL_ONLY = 4
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


class OnnxEngine(Closing):
    """An ONNX model with one uint8 input and one float32 output; see ``Engine``.

    Raises:
        EngineError: the bytes are not a model, hold an operator that this ONNX Runtime lacks, or other than one
            input and output.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        try:
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as err:  # onnxruntime's own exceptions have no common root but Exception
            raise EngineError(f"ONNX Runtime cannot load the model: {str(err).splitlines()[0]}") from err
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(f"the model has {len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine.run``."""
        try:
            (raw,) = self._session.run([self.output.name], {self.input.name: pixels[np.newaxis]})
        except Exception as err:  # as above
            raise EngineError(f"ONNX Runtime failed: {str(err).splitlines()[0]}") from err
        return as_probabilities(np.asarray(raw[0], np.float32))

    def close(self) -> None:
        """See ``Engine.close``."""
        self._session = None


def _spec(node: Any) -> TensorSpec:
    # A free dimension comes as a name or None: it is named 1 only for the batch, which we always feed as one.
    shape = tuple(side if isinstance(side, int) else 1 for side in node.shape)
    return TensorSpec(name=node.name, shape=shape, dtype=_DTYPES.get(node.type, node.type))
