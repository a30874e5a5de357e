"""How fresh answers are when the model is slower than a live camera; part of scripts/bench_device."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_lib import BenchError, Log, markdown, run_timed

SCRIPTS = Path(__file__).resolve().parent
EDGEGRAFT = Path(sys.executable).with_name("edgegraft")
FRAME_INTERVAL_MS = 1e3 / 30
_PARTS = 5
_BARE_FRAMES = 100
# A model of three classes with as much arithmetic as takes 60 to 200 ms: a fully connected net would do as well.
_MAKE_SLOW = """
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

sys.path.insert(0, sys.argv[1])
from bundles import SIDE, write_colour_bundle

weights = np.random.default_rng(1).normal(0, 0.04, (640, 640)).astype(np.float32)


@tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8, "pixels")])
def classify(pixels):
    means = tf.reduce_mean(tf.cast(pixels, tf.float32) / 255.0, axis=(1, 2))
    work = tf.tile(means[:, :1], (640, 640))
    for _ in range(16):
        work = tf.nn.relu(tf.matmul(work, weights))
    return tf.nn.softmax(means * 8.0 + 1e-20 * tf.reduce_mean(work))


folder = Path(sys.argv[2])
model = bytes(tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()]).convert())
(folder / "slow.tflite").write_bytes(model)
write_colour_bundle(folder / "slow.egb", {"tflite-float32": model})
"""


def fresh(seconds: float, camera: str, film: Path, folder: Path, log: Log) -> str:
    """Run a slow model on a live source and tell the age of its answers.

    Args:
        seconds: how long.
        camera: a live source of 30 frames a second.
        film: whose frames the bare loop takes, for the CPU time of a frame.
        folder: for the model.
        log: keeps the figures.

    Returns:
        Markdown.

    Raises:
        BenchError: too few answers came.
    """
    make = [sys.executable, "-c", _MAKE_SLOW, SCRIPTS.parent / "tests", folder]
    subprocess.run(make, check=True, capture_output=True)
    answers, cpu_ms = _answers(folder / "slow.egb", camera, seconds)
    sides = [sys.executable, SCRIPTS / "bench_sides.py", "litert", folder / "slow.tflite", film]
    bare = run_timed([*sides, "--frames", _BARE_FRAMES, "--threads", 1, "--memory"], {}).result
    parts = [answers[at * len(answers) // _PARTS : (at + 1) * len(answers) // _PARTS] for at in range(_PARTS)]
    rows = [_row(f"part {number + 1} of {_PARTS}", part) for number, part in enumerate(parts)]
    figures = {
        "age_ms_p95": _percentile([one["age_ms"] for one in answers], 95),
        "infer_ms_p50": statistics.median(_infer_ms(answers)),
        "cpu_ms_per_answer": cpu_ms,
        "bare_cpu_ms_per_frame": bare["cpu_ms_per_frame"],
    }
    log.append({"fresh": seconds, "camera": camera, "answers": len(answers), **figures})
    header = ("answers", "number", "infer ms p50", "infer ms p95", "age ms p50", "age ms p95", "33.3 + infer p95, ms")
    return "\n".join(
        [
            f"{camera}, {seconds:.0f} s, one thread\n",
            markdown(header, [*rows, _row("all", answers)]),
            f"\nCPU: {cpu_ms:.1f} ms an answer, bare loop {bare['cpu_ms_per_frame']:.1f} ms a frame: "
            f"{cpu_ms / bare['cpu_ms_per_frame']:.2f} times; {answers[-1]['dropped']} frames passed over",
        ]
    )


def _answers(bundle: Path, camera: str, seconds: float) -> tuple[list[dict[str, Any]], float]:
    """What came after the first two seconds, and the CPU time of one answer."""
    command = [EDGEGRAFT, "run", bundle, "--camera", camera, "--threads", "1", "--variant", "tflite-float32"]
    answers: list[dict[str, Any]] = []
    with subprocess.Popen([*command, "--sink", "jsonl:-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        started, cpu_before = time.monotonic(), 0.0
        for line in child.stdout:
            now = time.monotonic() - started
            if now < 2:
                continue
            cpu_before = cpu_before or _cpu_s(child.pid)
            answers.append(json.loads(line))
            if now > seconds + 2:
                break
        cpu_s = _cpu_s(child.pid) - cpu_before
        child.terminate()
    if len(answers) < 2 * _PARTS:
        raise BenchError(f"{len(answers)} answers came in {seconds:.0f} s: {' '.join(map(str, command))}")
    return answers, cpu_s * 1e3 / (len(answers) - 1)


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _row(name: str, answers: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    ages, infer = [one["age_ms"] for one in answers], _infer_ms(answers)
    slow = _percentile(infer, 95)
    figures = (statistics.median(infer), slow, statistics.median(ages), _percentile(ages, 95), FRAME_INTERVAL_MS + slow)
    return (name, str(len(answers)), *(f"{figure:.1f}" for figure in figures))


def _infer_ms(answers: Sequence[dict[str, Any]]) -> list[float]:
    return [one["stages_ms"]["infer"] for one in answers]


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
