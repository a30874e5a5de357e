"""What the bench_* scripts share: timed processes, a log that lets an interrupted bench go on, tables, the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Instructions that decide how fast float and int8 kernels run, on x86 and on ARM.
_FLAGS_OF_NOTE = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip
_PACKAGES = ("edgegraft", "tensorflow", "keras", "tf-keras", "ai-edge-litert", "opencv-python-headless", "numpy")


class BenchError(Exception):
    """A side did not run, or not on the same photos; the message says which."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well.

    Attributes:
        result: the JSON object it printed.
        seconds: wall time of the whole process, its start and imports included.
        cpu_seconds: user and system time of it and its children; tells a busy machine from a slow program.
        peak_mb: the largest resident memory of it or one of its children, in 10^6 bytes.
    """

    result: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_mb: float


def run_timed(command: Sequence[object], environment: Mapping[str, str]) -> Finished:
    """Run a command whose standard output is one JSON object; its progress stays visible on standard error.

    Raises:
        BenchError: it failed or printed something else.
    """
    words = [str(word) for word in command]
    print("== " + " ".join(words), file=sys.stderr, flush=True)
    start = time.monotonic()
    process = subprocess.Popen(words, env={**os.environ, **environment}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stream:
        output = stream.read()
    # wait4 instead of communicate(): the only call that tells the resources of this child alone.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"exit code {process.returncode}: {' '.join(words)}")
    try:
        result = json.loads(output)
    except ValueError as err:
        raise BenchError(f"printed {output[:80]!r}, expected one JSON object: {' '.join(words)}") from err
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(result, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6)


class Log:
    """Measurements as JSON lines, one appended as soon as it is there.

    Args:
        path: the file; None keeps them in memory.
        scenario: what was measured (data, backbone, machine, ...); lines of another scenario are passed over.
    """

    def __init__(self, path: Path | None, scenario: Mapping[str, str]) -> None:
        self._path = path
        self._scenario = dict(scenario)
        self.rows: list[dict[str, Any]] = []
        for line in path.read_text().splitlines() if path is not None and path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a kill in the middle of a line
            if entry.pop("scenario", None) == self._scenario:
                self.rows.append(entry)

    def append(self, row: Mapping[str, Any]) -> None:
        """Keep a measurement."""
        self.rows.append(dict(row))
        if self._path is not None:
            # The line break comes first as well, so that a line cut short spoils no other.
            with self._path.open("a") as stream:
                stream.write("\n" + json.dumps({**row, "scenario": self._scenario}) + "\n")

    def find(self, **keys: object) -> dict[str, Any] | None:
        """The latest measurement with these values."""
        matching = (row for row in reversed(self.rows) if all(row.get(name) == value for name, value in keys.items()))
        return next(matching, None)


def repeat_missing(
    log: Log, wanted: Iterable[Mapping[str, object]], measure: Callable[..., Mapping[str, Any]], needs: str | None
) -> list[str]:
    """Measure what the log lacks; what fails does not stop the rest.

    Args:
        log: is read and appended to.
        wanted: keys of each measurement, handed to ``measure`` as keyword arguments.
        measure: returns the other columns.
        needs: a column that a kept line must have a value in, or it is measured again.

    Returns:
        what failed and why, a line each.
    """
    failures = []
    for keys in wanted:
        kept = log.find(**keys)
        if kept is not None and (needs is None or kept.get(needs) is not None):
            continue
        try:
            log.append({**keys, **measure(**keys)})
        except BenchError as err:
            failures.append(f"{' '.join(str(value) for value in keys.values())}: {err}")
            print(f"failed: {failures[-1]}", file=sys.stderr)
    return failures


def comparison(rows: Sequence[Mapping[str, Any]], baseline: str) -> str:
    """The Markdown table of sides against a baseline.

    Args:
        rows: measurements with ``side, seed, seconds, peak_mb, test`` and ``int8`` (fractions; ``int8`` may be None).
            Of two with the same side and seed the later counts.
        baseline: the side that speed and accuracy are compared with, over the seeds that both have.
    """
    by_side: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        by_side.setdefault(row["side"], {})[row["seed"]] = row
    base = by_side.get(baseline, {})
    header = (
        "side", "seeds", "seconds", f"times faster than {baseline}", "peak MB", "test float %",
        f"points above {baseline}", "test int8 %",
    )  # fmt: skip
    return markdown(header, [_side_row(side, found, base) for side, found in by_side.items()])


def _side_row(
    side: str, found: Mapping[int, Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]]
) -> tuple[str, ...]:
    both = sorted(set(found) & set(base))
    ratio = points = "-"
    if both:
        seconds = sum(base[seed]["seconds"] for seed in both) / sum(found[seed]["seconds"] for seed in both)
        ratio = f"{seconds:.1f}"
        points = f"{100 * statistics.mean(found[seed]['test'] - base[seed]['test'] for seed in both):+.1f}"
    quantised = [100 * row["int8"] for row in found.values() if row.get("int8") is not None]
    return (
        side,
        str(len(found)),
        spread([row["seconds"] for row in found.values()]),
        ratio,
        f"{max(row['peak_mb'] for row in found.values()):.0f}",
        spread([100 * row["test"] for row in found.values()]),
        points,
        spread(quantised),
    )


def spread(values: Sequence[float]) -> str:
    """Mean and range of figures, such as ``90.1 (88.7-92.0)``; a dash when there are none."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f}-{max(values):.1f})"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def machine_line() -> str:
    """Processor, cores that may be used, instructions of note, memory, system and versions, on one line."""
    info = _cpu_info()
    flags = set(info.get("flags", info.get("Features", "")).split())
    noted = [flag for flag in _FLAGS_OF_NOTE if flag in flags]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    parts = (
        f"{info.get('model name', platform.machine())} ({' '.join(noted) or 'no vector instructions of note'})",
        f"{len(os.sched_getaffinity(0))} cores",
        f"{memory:.0f} GB",
        platform.platform(terse=True),
        f"Python {platform.python_version()}",
        *_versions(),
    )
    return ", ".join(parts)


def _cpu_info() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _versions() -> Iterable[str]:
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
