"""The child process that touches the foreign model: ``python -m export.adopt.child FOLDER PIPE``.

It reads ``task.json`` in the folder, does what it says, and writes ``result.json``. Every picture sends a byte through
the pipe, a sign of life that the parent waits for.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.contract import EngineKind, TensorSpec
from device.errors import EdgegraftError
from export.adopt.config import Declared
from export.adopt.errors import AdoptError
from export.adopt.interface import Interface, Surgery
from pipeline.backbones.base import Normalisation

# Address space, which a runtime takes more of than memory: a 500 MB model needs some 4 GB while it is rewritten.
MEMORY_LIMIT_BYTES = 12 * 1024**3
CPU_LIMIT_S = 3600
TASK, RESULT, MODEL, ADAPTED, PIXELS, ANSWERS = (
    "task.json",
    "result.json",
    "model",
    "adapted",
    "pixels.npy",
    "answers.npy",
)


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Parse the model; gives an ``Interface`` and what is ``Declared``."""

    engine: EngineKind
    size: int


class RunOriginal(msgspec.Struct, frozen=True, tag=True):
    """Run the original on all pictures once per normalisation; answers are (normalisations, n, classes) float32."""

    engine: EngineKind
    interface: Interface
    normalisations: tuple[Normalisation, ...]


class Prove(msgspec.Struct, frozen=True, tag=True):
    """Write the adapted model; run the original, and that through the board's engine, on all pictures.

    Answers are (2, n, classes) float32: as the original puts them out, and the adapted one's probabilities.
    """

    engine: EngineKind
    interface: Interface
    normalisation: Normalisation
    surgery: Surgery


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a task; ``error`` is empty where it went well."""

    error: str = ""
    interface: Interface | None = None
    declared: Declared | None = None
    input: TensorSpec | None = None
    output: TensorSpec | None = None


Task = Inspect | RunOriginal | Prove


def main(folder: Path, pipe: int) -> None:
    """Do the task of the folder."""
    _limit()
    task = msgspec.json.decode((folder / TASK).read_bytes(), type=Task)
    try:
        result = _do(task, folder, lambda: _sign_of_life(pipe))
    except EdgegraftError as err:
        result = Result(error=str(err))
    except MemoryError:
        result = Result(error=f"the model asks for more than {MEMORY_LIMIT_BYTES // 1024**3} GB of memory")
    (folder / RESULT).write_bytes(msgspec.json.encode(result))


def _do(task: Task, folder: Path, alive: Callable[[], None]) -> Result:
    model = (folder / MODEL).read_bytes()
    if isinstance(task, Inspect):
        return Result(interface=_inspect(task, model), declared=_declared(task.engine, model))
    if isinstance(task, Prove):
        return _prove(task, model, folder, alive)
    answers = [
        _run_original(task.engine, model, task.interface, normalisation, folder, alive)
        for normalisation in task.normalisations
    ]
    _save(answers, folder)
    return Result()


def _prove(task: Prove, model: bytes, folder: Path, alive: Callable[[], None]) -> Result:
    from device.engines.factory import load_engine

    adapted = _adapt(task, model)
    (folder / ADAPTED).write_bytes(adapted)
    before = _run_original(task.engine, model, task.interface, task.normalisation, folder, alive)
    with load_engine(task.engine, adapted) as engine:
        _save([before, [engine.run(pixels) for pixels in _pictures(folder, alive)]], folder)
        return Result(input=engine.input, output=engine.output)


def _run_original(
    engine: EngineKind,
    model: bytes,
    interface: Interface,
    normalisation: Normalisation,
    folder: Path,
    alive: Callable[[], None],
) -> list[NDArray[np.float32]]:
    from export.adopt.normalisation import network_input
    from export.adopt.original import open_original

    run = open_original(engine, model, interface)
    return [run(network_input(pixels, normalisation, interface.input)) for pixels in _pictures(folder, alive)]


def _save(answers: list[list[NDArray[np.float32]]], folder: Path) -> None:
    lengths = sorted({len(one) for answer in answers for one in answer})
    if len(lengths) > 1:
        raise AdoptError(f"the model answers with {lengths} values from photo to photo; expected one list of classes")
    np.save(folder / ANSWERS, np.array(answers, np.float32))


def _inspect(task: Inspect, model: bytes) -> Interface:
    if task.engine is EngineKind.LITERT:
        from export.adopt.tflite_file import inspect_tflite

        return inspect_tflite(model, task.size)
    from export.adopt.onnx_file import inspect_onnx

    return inspect_onnx(model, task.size)


def _declared(engine: EngineKind, model: bytes) -> Declared:
    from export.metadata.errors import MetadataError
    from export.metadata.onnx import read_onnx
    from export.metadata.tflite import read_tflite

    try:
        found = read_tflite(model) if engine is EngineKind.LITERT else read_onnx(model)
    except MetadataError as err:
        # What is wrong in there matters to those alone who give no labels.
        return Declared(problem=str(err))
    if found.normalisation is None:
        return Declared(found.labels)
    mean, scale = ((values * 3)[:3] for values in (found.normalisation.mean, found.normalisation.std))
    return Declared(found.labels, Normalisation((mean[0], mean[1], mean[2]), (scale[0], scale[1], scale[2])))


def _adapt(task: Prove, model: bytes) -> bytes:
    if task.engine is EngineKind.LITERT:
        from export.adopt.tflite_file import adapt_tflite

        return adapt_tflite(model, task.interface, task.surgery)
    from export.adopt.onnx_file import adapt_onnx

    return adapt_onnx(model, task.interface, task.surgery)


def _pictures(folder: Path, alive: Callable[[], None]) -> Iterator[NDArray[np.uint8]]:
    for pixels in np.load(folder / PIXELS, mmap_mode="r"):
        yield np.asarray(pixels)
        alive()


def _sign_of_life(pipe: int) -> None:
    os.write(pipe, b".")


def _limit() -> None:
    for what, limit in ((resource.RLIMIT_AS, MEMORY_LIMIT_BYTES), (resource.RLIMIT_CPU, CPU_LIMIT_S)):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    # A crash is the model's doing, not ours to dump.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
