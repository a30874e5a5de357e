"""From a variant and its bytes to a loaded, checked Engine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.contract import EngineKind, Variant
from device.engines.base import Accelerator, Engine
from device.errors import EngineError

_PACKAGE = {EngineKind.LITERT: "ai_edge_litert", EngineKind.ONNX: "onnxruntime"}
_INSTALL = {EngineKind.LITERT: "pip install edgegraft", EngineKind.ONNX: "pip install 'edgegraft[onnx]'"}
_MOST_THREADS = 4


def available(kind: EngineKind) -> bool:
    """Whether the runtime is installed here; nothing is imported."""
    return importlib.util.find_spec(_PACKAGE[kind]) is not None


def not_installed(kind: EngineKind) -> str:
    """What to tell a user whose machine lacks the runtime."""
    return f"{_PACKAGE[kind]} is not installed here: {_INSTALL[kind]}"


def default_threads() -> int:
    """Cores this process may use, at most four: small models do not gain from more."""
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)))


def open_engine(
    variant: Variant,
    model: bytes,
    threads: int | None = None,
    accelerator: Accelerator | None = None,
    cache: Path | None = None,
) -> Engine:
    """Load a variant and compare what its runtime reports with the manifest.

    Args:
        variant: from the manifest.
        model: its file's bytes, already compared with their sha256: a loader is no integrity check.
        threads: of the runtime; the default is ``default_threads()``.
        accelerator: the default is the one that the file was compiled for, for most the CPU.
        cache: a folder of this user's where TensorRT keeps what it built; made if it does not exist.

    Raises:
        EngineError: runtime or accelerator missing, model does not load, or is not what the manifest says.
    """
    engine = load_engine(variant.engine, model, threads, accelerator, variant.recipe, cache)
    for what, found, expected in (
        ("input", engine.input, variant.input),
        ("output", engine.output, variant.output),
    ):
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            engine.close()
            raise EngineError(
                f"variant '{variant.name}': the model's {what} is {found.shape} {found.dtype}, the manifest says "
                f"{expected.shape} {expected.dtype}; export the bundle again"
            )
    return engine


def load_engine(
    kind: EngineKind,
    model: bytes,
    threads: int | None = None,
    accelerator: Accelerator | None = None,
    recipe: str = "",
    cache: Path | None = None,
) -> Engine:
    """Load a model that has no manifest yet; see ``open_engine``.

    Raises:
        EngineError: runtime or accelerator missing, or the model does not load.
    """
    if not available(kind):
        raise EngineError(not_installed(kind))
    threads = threads or default_threads()
    if kind is EngineKind.LITERT:
        from device.engines.litert import LiteRtEngine, accelerator_of

        return LiteRtEngine(model, threads, accelerator or accelerator_of(model))
    from device.engines.onnx import OnnxEngine

    if accelerator is Accelerator.TENSORRT and cache is not None:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return OnnxEngine(model, threads, accelerator or Accelerator.CPU, recipe, cache)


def accelerators(kind: EngineKind, model: bytes) -> tuple[Accelerator, ...]:
    """Where a model may run with the runtime that is installed, most promising first; whether it does, shows a try.

    Raises:
        EngineError: the runtime is missing.
    """
    if not available(kind):
        raise EngineError(not_installed(kind))
    if kind is EngineKind.LITERT:
        from device.engines.litert import accelerator_of

        return (accelerator_of(model),)
    from device.engines.onnx import accelerators as of_onnx

    return of_onnx()


def prove(
    engine: Engine, inputs: NDArray[np.uint8], expected: NDArray[np.float32], tolerance: float
) -> NDArray[np.float32]:
    """Run the golden inputs and compare with the workstation's answers.

    Args:
        engine: loaded.
        inputs: (n, height, width, 3) uint8 RGB.
        expected: (n, classes) float32 probabilities.
        tolerance: largest difference in probability that rounding explains.

    Returns:
        (n, classes) float32, the answers given here.

    Raises:
        EngineError: an answer is not finite, all are the same, or one is further off than the tolerance.
    """
    answers = np.stack([engine.run(pixels) for pixels in inputs])
    if len(inputs) > 1 and float(np.ptp(answers, axis=0).max()) == 0.0:
        raise EngineError("the model gives one and the same answer to every golden input; export it again")
    worst = float(np.abs(answers - expected).max())
    if not worst <= tolerance:  # a NaN is neither above nor below
        raise EngineError(
            f"on the golden inputs the model is off by {worst:.3f} in probability, {tolerance:.3f} would be rounding; "
            f"this machine does not compute it rightly: try another variant (--variant)"
        )
    return answers
