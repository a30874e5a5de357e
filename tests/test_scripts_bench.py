"""What the benchmark scripts share: going on after an interruption, timed processes, and the table's arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from bench_lib import BenchError, Log, comparison, machine_line, repeat_missing, run_timed, spread

SCENARIO = {"data": "flowers5", "machine": "here"}


def row(side: str, seed: int, seconds: float, test: float, int8: float | None = None) -> dict[str, Any]:
    return {"side": side, "seed": seed, "seconds": seconds, "peak_mb": 100.0, "test": test, "int8": int8}


def test_sides_are_compared_over_the_seeds_that_both_have() -> None:
    rows = [
        row("tutorial", 0, 100, 0.80),
        row("tutorial", 1, 200, 0.84, int8=0.83),
        row("fast", 1, 10, 0.86),
        # Without a tutorial for seed 2 it must not count in either comparison.
        row("fast", 2, 90, 0.99),
    ]
    lines = comparison(rows, "tutorial").splitlines()
    assert lines[2] == "| tutorial | 2 | 150.0 (100.0-200.0) | 1.0 | 100 | 82.0 (80.0-84.0) | +0.0 | 83.0 |"
    assert lines[3] == "| fast | 2 | 50.0 (10.0-90.0) | 20.0 | 100 | 92.5 (86.0-99.0) | +2.0 | - |"


def test_without_the_baseline_nothing_is_compared() -> None:
    assert comparison([row("fast", 0, 10, 0.9)], "tutorial").splitlines()[2].split(" | ")[3] == "-"


def test_of_one_side_measured_twice_the_later_counts() -> None:
    table = comparison([row("fast", 0, 10, 0.5), row("fast", 0, 12, 0.9, int8=0.8)], "tutorial")
    assert "12.0" in table
    assert "10.0" not in table


def test_spread() -> None:
    assert [spread([]), spread([1.25]), spread([1.0, 3.0])] == ["-", "1.2", "2.0 (1.0-3.0)"]


def test_an_interrupted_bench_goes_on_and_a_failure_does_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    wanted = [{"side": "a"}, {"side": "b"}, {"side": "c"}]
    Log(path, SCENARIO).append({"side": "a", "seconds": 1})
    with path.open("a") as stream:
        stream.write('{"side": "b", "sec')  # a kill in the middle of a line
    asked = []

    def measure(side: str) -> dict[str, int]:
        asked.append(side)
        if side == "b":
            raise BenchError("no such option")
        return {"seconds": 2}

    assert repeat_missing(Log(path, SCENARIO), wanted, measure, needs=None) == ["b: no such option"]
    assert asked == ["b", "c"]
    assert Log(path, SCENARIO).rows == [{"side": "a", "seconds": 1}, {"side": "c", "seconds": 2}]


def test_a_line_without_the_column_needed_is_measured_again() -> None:
    log = Log(None, SCENARIO)
    log.append(row("fast", 0, 10, 0.9))
    repeat_missing(log, [{"side": "fast", "seed": 0}], lambda side, seed: row(side, seed, 11, 0.9, 0.8), needs="int8")
    found = log.find(side="fast", seed=0)
    assert found is not None
    assert found["int8"] == 0.8


def test_lines_of_another_machine_or_data_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    Log(path, SCENARIO).append({"side": "a"})
    assert Log(path, {**SCENARIO, "machine": "elsewhere"}).rows == []


def test_a_process_is_timed_with_its_own_memory() -> None:
    # In a small process, as the benchmarks are: to the kernel a child has been as large as who forked it.
    program = """
import subprocess
import sys
from bench_lib import run_timed
held = "import json; held = b'x' * 300_000_000; print(json.dumps({'n': len(held)}))"
large = run_timed([sys.executable, "-c", held], {})
small = run_timed([sys.executable, "-c", "import os; print(os.environ['X'])"], {"X": '{"x": "y"}'})
assert large.result == {"n": 300_000_000} and small.result == {"x": "y"}
assert large.peak_mb > 300 > small.peak_mb
assert large.seconds > 0
"""
    scripts = Path(__file__).resolve().parent.parent / "scripts"
    done = subprocess.run([sys.executable, "-c", program], cwd=scripts, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("program", "message"), [("exit(3)", "exit code 3"), ("print('done')", "expected one JSON")])
def test_a_process_that_fails_or_prints_no_json_is_named(program: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        run_timed([sys.executable, "-c", program], {})


def test_the_machine_is_said_on_one_line() -> None:
    line = machine_line()
    assert "cores" in line
    assert "Python 3" in line
    assert "\n" not in json.loads(json.dumps(line))
