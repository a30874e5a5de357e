"""A model file tried in a process of its own: a loader is no integrity check, and a bad file can crash or hang it.

``python -m device.tryout FOLDER`` is the child: it reads ``task.json``, ``model`` and ``inputs.npy`` in the folder and
writes ``answers.npy`` and ``result.json``.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.contract import EngineKind
from device.engines.factory import load_engine
from device.errors import EdgegraftError, EngineError
from device.memory import peak_rss_mb

# Address space, of which a runtime asks for more than it uses.
MEMORY_LIMIT_BYTES = 8 * 1024**3
TIME_LIMIT_S = 300.0
_LEAST_TIMED_RUNS = 20


@dataclass(frozen=True, slots=True)
class Tryout:
    """What a fresh process saw.

    Attributes:
        answers: (n, classes) float32 probabilities.
        latency_ms: median of one classification, pixels to probabilities.
        rss_mb: largest resident memory of the process, in 1e6 bytes.
    """

    answers: NDArray[np.float32]
    latency_ms: float
    rss_mb: float


class _Task(msgspec.Struct, frozen=True):
    engine: EngineKind
    threads: int | None


class _Result(msgspec.Struct, frozen=True):
    error: str = ""
    latency_ms: float = 0.0
    rss_mb: float = 0.0


def try_model(
    kind: EngineKind,
    model: bytes,
    inputs: NDArray[np.uint8],
    threads: int | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Tryout:
    """Load a model in a fresh process, classify the inputs and time it.

    Args:
        kind: its runtime.
        model: the file's bytes.
        inputs: (n, height, width, 3) uint8 RGB.
        threads: of the runtime; by default up to four cores.
        time_limit_s: after which the process is ended.

    Raises:
        EngineError: it does not load, fails on a picture, crashes, or takes too long.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "model").write_bytes(model)
        (folder / "task.json").write_bytes(msgspec.json.encode(_Task(kind, threads)))
        np.save(folder / "inputs.npy", inputs)
        command = [sys.executable, "-m", "device.tryout", str(folder)]
        try:
            child = subprocess.run(command, capture_output=True, timeout=time_limit_s, check=False)
        except subprocess.TimeoutExpired as err:
            raise EngineError(f"in a process of its own the model gave no answer within {time_limit_s:.0f} s") from err
        if not (folder / "result.json").is_file():
            raise EngineError(_death(child.returncode, child.stderr.decode(errors="replace")))
        result = msgspec.json.decode((folder / "result.json").read_bytes(), type=_Result)
        if result.error:
            raise EngineError(result.error)
        answers: NDArray[np.float32] = np.load(folder / "answers.npy", allow_pickle=False)
        return Tryout(answers, result.latency_ms, result.rss_mb)


def _death(code: int, said: str) -> str:
    if code < 0:
        return f"the runtime crashed on the model in a process of its own ({signal.Signals(-code).name})"
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    return f"the model failed in a process of its own (exit code {code}): {last}"


def _child(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    task = msgspec.json.decode((folder / "task.json").read_bytes(), type=_Task)
    inputs: NDArray[np.uint8] = np.load(folder / "inputs.npy", allow_pickle=False)
    try:
        result = _run(task, (folder / "model").read_bytes(), inputs, folder / "answers.npy")
    except EdgegraftError as err:
        result = _Result(error=str(err))
    except MemoryError:
        result = _Result(error=f"the model asks for more than {MEMORY_LIMIT_BYTES // 1024**3} GiB of memory")
    (folder / "result.json").write_bytes(msgspec.json.encode(result))


def _run(task: _Task, model: bytes, inputs: NDArray[np.uint8], path: Path) -> _Result:
    with load_engine(task.engine, model, task.threads) as engine:
        # Also the warm-up.
        np.save(path, np.stack([engine.run(pixels) for pixels in inputs]))
        times_ms = []
        for turn in range(max(_LEAST_TIMED_RUNS, len(inputs))):
            start = time.perf_counter()
            engine.run(inputs[turn % len(inputs)])
            times_ms.append((time.perf_counter() - start) * 1e3)
    return _Result(latency_ms=float(np.median(times_ms)), rss_mb=peak_rss_mb())


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
