"""Latency, throughput, start-up and memory of each variant on this machine.

Every variant is measured in a fresh child process: what it costs to start is part of the answer, its memory is
not mixed with another's, and one that crashes its runtime takes nothing else with it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.bundle import open_bundle
from device.choice import Candidate, choose
from device.contract import Choice, Variant
from device.engines import Engine, available, not_installed, open_engine, prove
from device.engines.factory import default_threads
from device.errors import EdgegraftError
from device.memory import peak_rss_mb

_CHILD_TIMEOUT_S = 300.0
_WARM_UP_RUNS = 5


class Latency(msgspec.Struct, frozen=True):
    """Percentiles of one classification (preprocessed pixels to probabilities), in milliseconds."""

    p50: float
    p95: float
    p99: float


class BenchResult(msgspec.Struct, frozen=True):
    """One variant here. ``error`` says why there are no figures; ``start_seconds`` is from process start to the
    first answer, ``rss_mb`` the largest resident memory of the process. ``accuracy`` (a fraction) and ``drop_points``
    are the export's."""

    variant: str
    engine: str
    recipe: str
    threads: int
    size_bytes: int
    accuracy: float
    drop_points: float
    latency_ms: Latency | None = None
    frames_per_second: float | None = None
    start_seconds: float | None = None
    rss_mb: float | None = None
    error: str | None = None


class BenchReport(msgspec.Struct, frozen=True):
    """``chosen`` is the variant that the bundle's rule picks among those that gave the right answers here, or None."""

    bundle: str
    machine: dict[str, str | int]
    results: tuple[BenchResult, ...]
    choice: Choice
    chosen: str | None


def bench_bundle(
    path: Path, runs: int, threads: int | None = None, on_start: Callable[[str], None] = lambda name: None
) -> BenchReport:
    """Measure every variant of a bundle.

    Args:
        path: the ``.egb`` file.
        runs: classifications per variant, after a warm-up.
        threads: of the runtimes; by default up to four cores.
        on_start: called with each variant's name before it is measured.

    Raises:
        BundleError, ContractError: the bundle is not intact.
    """
    with open_bundle(path) as bundle:
        manifest = bundle.manifest
    results = []
    for variant in manifest.variants:
        on_start(variant.name)
        results.append(_measure(path, variant, runs, threads or default_threads()))
    right = [Candidate(one.variant, one.latency_ms.p50, one.accuracy) for one in results if one.latency_ms is not None]
    chosen = choose(right, manifest.choice)
    return BenchReport(str(path), machine(), tuple(results), manifest.choice, chosen)


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "model": machine_model(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def machine_model() -> str:
    """The board's name from the device tree, else the processor's."""
    tree = Path("/proc/device-tree/model")
    if tree.is_file():
        return tree.read_text(errors="replace").strip("\0\n ")
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _measure(path: Path, variant: Variant, runs: int, threads: int) -> BenchResult:
    about = {
        "variant": variant.name,
        "engine": variant.engine.value,
        "recipe": variant.recipe,
        "threads": threads,
        "size_bytes": variant.file.size_bytes,
        "accuracy": variant.measured.accuracy,
        "drop_points": variant.measured.drop_points,
    }
    if not available(variant.engine):
        return BenchResult(**about, error=not_installed(variant.engine))  # type: ignore[arg-type]
    command = [sys.executable, "-m", "device.bench", str(path), variant.name, str(runs), str(threads)]
    started = time.time()
    try:
        child = subprocess.run(command, capture_output=True, timeout=_CHILD_TIMEOUT_S, text=True, check=False)
    except subprocess.TimeoutExpired:
        return BenchResult(**about, error=f"no result after {_CHILD_TIMEOUT_S:.0f} s")  # type: ignore[arg-type]
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or [f"ended with code {child.returncode}"])[-1]
        return BenchResult(**about, error=last)  # type: ignore[arg-type]
    figures = json.loads(child.stdout)
    first_answer_at = figures.pop("first_answer_at")
    return msgspec.convert({**about, **figures, "start_seconds": first_answer_at - started}, BenchResult)


def _measure_here(path: Path, name: str, runs: int, threads: int) -> dict[str, object]:
    with open_bundle(path) as bundle:
        variant = bundle.manifest.variant(name)
        inputs, expected = bundle.golden()
        with open_engine(variant, bundle.model(variant), threads) as engine:
            engine.run(inputs[0])
            first_answer_at = time.time()
            prove(engine, inputs, expected[name], bundle.manifest.golden.tolerance)
            for turn in range(_WARM_UP_RUNS):
                engine.run(inputs[turn % len(inputs)])
            times_ms = np.array([_time_ms(engine, inputs[turn % len(inputs)]) for turn in range(runs)])
    p50, p95, p99 = (float(value) for value in np.percentile(times_ms, (50, 95, 99)))
    return {
        "first_answer_at": first_answer_at,
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
        "frames_per_second": 1e3 * runs / float(times_ms.sum()),
        "rss_mb": peak_rss_mb(),
    }


def _time_ms(engine: Engine, pixels: NDArray[np.uint8]) -> float:
    start = time.perf_counter()
    engine.run(pixels)
    return (time.perf_counter() - start) * 1e3


def _child(arguments: list[str]) -> int:
    path, name, runs, threads = arguments
    try:
        print(json.dumps(_measure_here(Path(path), name, int(runs), int(threads))))
    except EdgegraftError as err:
        print(err, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1:]))
