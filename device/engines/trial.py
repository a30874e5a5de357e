"""A variant proved and timed in a process of its own.

``python -m device.engines.trial FOLDER`` is the child: it reads ``task.json``, ``model`` and ``golden.npz`` in the
folder and writes ``result.json``.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.contract import Variant
from device.engines.base import Accelerator, Engine
from device.engines.child import be_the_first_to_go, run_child
from device.engines.factory import open_engine, prove
from device.errors import EdgegraftError, EngineError
from device.tryout import MEMORY_LIMIT_BYTES

# Enough for a median that neighbours on the same cores do not decide, little enough for a first start.
_TIMED_S = 0.25
_LEAST_RUNS, _MOST_RUNS = 3, 100
# Several counts of threads take turns, so that a busy moment hits all of them.
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs with the answers that are right.

    Attributes:
        inputs: (n, height, width, 3) uint8 RGB.
        expected: (n, classes) float32 probabilities.
        tolerance: largest difference in probability that rounding explains.
    """

    inputs: NDArray[np.uint8]
    expected: NDArray[np.float32]
    tolerance: float


class _Task(msgspec.Struct, frozen=True):
    variant: Variant
    tolerance: float
    threads: tuple[int, ...]
    accelerator: Accelerator
    cache: str | None


class _Result(msgspec.Struct, frozen=True):
    latency_ms: tuple[float, ...] = ()
    error: str = ""


def time_variant(
    variant: Variant,
    model: bytes,
    golden: Golden,
    threads: tuple[int, ...],
    accelerator: Accelerator,
    cache: Path | None,
    time_limit_s: float,
) -> tuple[float, ...]:
    """Prove a variant in a fresh process and time it with each count of threads.

    Args:
        variant, model, accelerator, cache: see ``open_engine``.
        golden: what it must answer.
        threads: at least one count.
        time_limit_s: after which the process is ended.

    Returns:
        for each count the median of one classification, pixels to probabilities, in milliseconds.

    Raises:
        EngineError: it does not load, answers wrongly, crashes, or takes too long.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        task = _Task(variant, golden.tolerance, threads, accelerator, str(cache) if cache else None)
        (folder / "task.json").write_bytes(msgspec.json.encode(task))
        (folder / "model").write_bytes(model)
        np.savez(folder / "golden.npz", inputs=golden.inputs, expected=golden.expected)
        run_child("device.engines.trial", [str(folder)], time_limit_s)
        result = msgspec.json.decode((folder / "result.json").read_bytes(), type=_Result)
    if result.error:
        raise EngineError(result.error)
    return result.latency_ms


def _child(folder: Path) -> None:
    be_the_first_to_go()
    task = msgspec.json.decode((folder / "task.json").read_bytes(), type=_Task)
    if task.accelerator in (Accelerator.CPU, Accelerator.EDGETPU):  # CUDA reserves far more than it uses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    with np.load(folder / "golden.npz", allow_pickle=False) as arrays:
        golden = Golden(arrays["inputs"], arrays["expected"], task.tolerance)
    try:
        result = _Result(_times_ms(task, (folder / "model").read_bytes(), golden))
    except EdgegraftError as err:
        result = _Result(error=str(err))
    except MemoryError:
        result = _Result(error=f"the model asks for more than {MEMORY_LIMIT_BYTES // 1024**3} GiB of memory")
    (folder / "result.json").write_bytes(msgspec.json.encode(result))


def _times_ms(task: _Task, model: bytes, golden: Golden) -> tuple[float, ...]:
    cache = Path(task.cache) if task.cache else None
    proved = False
    best = dict.fromkeys(task.threads, float("inf"))
    # One engine at a time: on a small board not even two may fit into memory.
    for _ in range(_ROUNDS if len(task.threads) > 1 else 1):
        for count in task.threads:
            with open_engine(task.variant, model, count, task.accelerator, cache) as engine:
                if not proved:
                    prove(engine, golden.inputs, golden.expected, golden.tolerance)
                    proved = True
                best[count] = min(best[count], _median_ms(engine, golden.inputs))
    return tuple(best.values())


def _median_ms(engine: Engine, inputs: NDArray[np.uint8]) -> float:
    engine.run(inputs[0])  # the first is slower
    times_ms: list[float] = []
    until = time.perf_counter() + _TIMED_S
    while len(times_ms) < _LEAST_RUNS or (time.perf_counter() < until and len(times_ms) < _MOST_RUNS):
        start = time.perf_counter()
        engine.run(inputs[len(times_ms) % len(inputs)])
        times_ms.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times_ms))


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
