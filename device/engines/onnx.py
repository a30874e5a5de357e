"""ONNX Runtime, the runtime of ``.onnx`` files, on the CPU or an NVIDIA GPU.

The extra ``edgegraft[onnx]`` brings it for the CPU; ``onnxruntime-gpu``, on a Jetson NVIDIA's own build, brings CUDA
and TensorRT.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.closing import Closing
from device.contract import TensorSpec
from device.engines.base import Accelerator, as_probabilities
from device.engines.providers import PROVIDER, missing_library, providers
from device.errors import EngineError
from device.quiet import native_stderr_to

_FATAL_ONLY = 4
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


class OnnxEngine(Closing):
    """An ONNX model with one uint8 input and one float32 output; see ``Engine``.

    Args:
        model: the file's bytes.
        threads: of the CPU.
        accelerator: CPU, CUDA or TENSORRT.
        recipe: of the variant; says in which numbers TensorRT may compute.
        cache: a folder of this user's where TensorRT keeps what it built, or None: minutes are spent at each start.

    Raises:
        EngineError: the bytes are not a model, hold an operator that this ONNX Runtime lacks, or other than one
            input and output; the accelerator is not there, or the runtime went on without it.
    """

    def __init__(
        self,
        model: bytes,
        threads: int,
        accelerator: Accelerator = Accelerator.CPU,
        recipe: str = "",
        cache: Path | None = None,
    ) -> None:
        import onnxruntime

        _require_provider(onnxruntime, accelerator)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        self.threads, self.accelerator = threads, accelerator
        try:
            if accelerator is Accelerator.CPU:
                self._session: Any = onnxruntime.InferenceSession(model, options, providers=[PROVIDER[accelerator]])
            else:
                self._session = _on_gpu(onnxruntime, model, options, accelerator, recipe, cache)
        except EngineError:
            raise
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


def accelerators() -> tuple[Accelerator, ...]:
    """What the ONNX Runtime that is installed was built for, fastest first; nothing is loaded, and CUDA's own libraries
    may still be missing."""
    spec = importlib.util.find_spec("onnxruntime")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    libraries = {path.name for folder in folders for path in (Path(folder) / "capi").glob("libonnxruntime_providers_*")}
    on_gpu = (Accelerator.TENSORRT, Accelerator.CUDA)
    return (*(each for each in on_gpu if f"libonnxruntime_providers_{each.value}.so" in libraries), Accelerator.CPU)


def _require_provider(onnxruntime: Any, accelerator: Accelerator) -> None:
    name = PROVIDER.get(accelerator)
    if name is None:
        raise EngineError(f"ONNX Runtime runs models on the CPU or a GPU, not on {accelerator.value}")
    # Asked for a provider that it was built without, ONNX Runtime warns and takes the CPU.
    if name not in onnxruntime.get_available_providers():
        raise EngineError(
            f"this ONNX Runtime ({onnxruntime.__version__}) is built without {name}; install onnxruntime-gpu in place "
            f"of onnxruntime, on a Jetson NVIDIA's own build, or run on the CPU"
        )


def _on_gpu(
    onnxruntime: Any, model: bytes, options: Any, accelerator: Accelerator, recipe: str, cache: Path | None
) -> Any:
    """A session that really runs there: without CUDA's libraries ONNX Runtime says so in its log and takes the CPU."""
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()  # finds what pip's nvidia-* packages have brought
    wanted = providers(accelerator, recipe, cache)
    with TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        # It also prints to standard output, which belongs to our answers.
        with native_stderr_to(log), contextlib.redirect_stdout(io.StringIO()):
            session = onnxruntime.InferenceSession(model, options, providers=wanted)
        said = log.read_text(errors="replace")
    session.disable_fallback()
    if session.get_providers()[0] != PROVIDER[accelerator]:
        raise EngineError(
            f"ONNX Runtime cannot use {PROVIDER[accelerator]} and would have gone on with "
            f"{session.get_providers()[0]}: {missing_library(said)}"
        )
    return session


def _spec(node: Any) -> TensorSpec:
    # A free dimension comes as a name or None: it is named 1 only for the batch, which we always feed as one.
    shape = tuple(side if isinstance(side, int) else 1 for side in node.shape)
    return TensorSpec(name=node.name, shape=shape, dtype=_DTYPES.get(node.type, node.type))
