"""The processors of a Raspberry Pi 3, 4 and 5: the base install from its aarch64 wheels, and the answers of an x86."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from arm import ArmBoard, Processor, install_board

from device.cameras import open_camera

pytestmark = pytest.mark.long

FRAMES = 20
VARIANTS = ("tflite-static-int8", "tflite-float32", "onnx-static-int8")
# In probability. Seen is no difference to four digits; kernels of another version may round otherwise.
TOLERANCE = 0.02

PROCESSORS = pytest.mark.parametrize("processor", Processor, ids=lambda each: each.value)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> ArmBoard:
    return install_board(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of drawn signs, half a second apart: PNG, for FFmpeg converts colours otherwise on ARM than on x86."""
    folder = tmp_path_factory.mktemp("film")
    with open_camera(f"scene:?live=0&fps=2&frames={FRAMES}") as camera:
        for frame in iter(camera.read, None):
            cv2.imwrite(str(folder / f"{frame.index:02}.png"), frame.pixels)
    return folder


@pytest.fixture(scope="module")
def answers_here(bundle_path: Path, film: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What this machine answers, by variant."""
    folder = tmp_path_factory.mktemp("here")
    answers = {}
    for variant in VARIANTS:
        command = [sys.executable, "-m", "device.cli", *arguments(bundle_path, film, variant, folder / variant)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        answers[variant] = lines(folder / variant)
    return answers


def arguments(bundle: Path, film: Path, variant: str, out: Path) -> list[str]:
    run = ["run", str(bundle), "--camera", str(film), "--variant", variant]
    return [*run, "--threads", "2", "--sink", f"jsonl:{out}", "--json"]


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def difference(there: Any, here: Any) -> float:
    """The largest in probability; a class that is among the five there only had at most the least of the five here."""
    expected = dict(here["top"])
    least = here["top"][-1][1]
    return max(abs(p - expected[label]) if label in expected else max(0.0, p - least) for label, p in there["top"])


@PROCESSORS
def test_the_base_install_starts(board: ArmBoard, processor: Processor) -> None:
    program = (
        "import json, platform, device.cli, cv2, numpy, ai_edge_litert.interpreter, onnxruntime\n"
        "print(json.dumps([platform.machine(), cv2.__version__, numpy.__version__]))"
    )
    child = board.python(processor, "-c", program)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout)[0] == "aarch64"
    version = board.python(processor, "-m", "device.cli", "--version")
    assert version.stdout.startswith("edgegraft "), version.stderr


@PROCESSORS
@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_inputs_and_twenty_frames_are_answered_as_on_x86(
    board: ArmBoard,
    processor: Processor,
    variant: str,
    bundle_path: Path,
    film: Path,
    answers_here: dict[str, list[Any]],
    tmp_path: Path,
) -> None:
    # The command proves the golden inputs before it takes the first frame.
    out = tmp_path / "answers.jsonl"
    child = board.python(processor, "-m", "device.cli", *arguments(bundle_path, film, variant, out), cwd=tmp_path)
    assert child.returncode == 0, f"{child.returncode}: {child.stderr}"
    summary = json.loads(child.stdout)
    assert (summary["frames"], summary["variant"]) == (FRAMES, variant)
    answers = lines(out)
    assert len(answers) == FRAMES
    off = [difference(there, here) for there, here in zip(answers, answers_here[variant], strict=True)]
    assert max(off) <= TOLERANCE, off
    assert len({answer["top"][0][0] for answer in answers}) > 1  # a film with something to tell apart
