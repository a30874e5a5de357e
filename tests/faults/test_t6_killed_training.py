"""T6: a training is killed in any epoch: the same command goes on after its last whole epoch, and ends the same."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.callbacks.history_file import HistoryLine, read_history

pytestmark = pytest.mark.long

SCRATCH = ("--backbone", "lenet5", "--weights", "none", "--epochs", "30", "--learning-rate", "0.003")
# Only against waiting for ever: on a busy machine a stage takes minutes.
WAIT_S = 900.0


def _command(photos: Path, run: Path, options: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "device.cli", "train", str(photos), "--out", str(run), *options, "--json"]


def _finished(photos: Path, run: Path, options: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    done = subprocess.run(_command(photos, run, options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def _kill_in(photos: Path, run: Path, options: tuple[str, ...], stage: str, epoch: int) -> None:
    """Start the training and kill it as soon as that epoch of that stage is over and one of them is backed up."""
    backup = run / "backup" / f"{stage}.safetensors"
    with subprocess.Popen(_command(photos, run, options), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        deadline = time.monotonic() + WAIT_S
        while not (backup.exists() and (stage, epoch) in _epochs(run)):
            assert child.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    assert not (run / "run.json").exists()


def _epochs(run: Path) -> list[tuple[str, int]]:
    return [(line.stage, line.epoch) for line in read_history(run / "history.csv")]


def _assert_the_same_training(resumed: Path, whole: Path) -> None:
    """Line by line, the figures of the two histories."""
    found, expected = read_history(resumed / "history.csv"), read_history(whole / "history.csv")
    assert _epochs(resumed) == _epochs(whole)
    for one, other in zip(found, expected, strict=True):
        assert _figures(one) == pytest.approx(_figures(other), rel=2e-2, abs=1e-3), (one, other)


def _figures(line: HistoryLine) -> tuple[float, float, float]:
    return line.learning_rate, line.train_loss, line.validation_loss


@pytest.fixture(scope="module")
def whole(shape_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Never interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, _finished(shape_photos, run, SCRATCH)[0]


@pytest.fixture(scope="module")
def killed(shape_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The same, killed in an epoch that nobody chose; not to be written to."""
    run, epoch = tmp_path_factory.mktemp("killed") / "run", random.randint(2, 20)
    _kill_in(shape_photos, run, SCRATCH, "scratch", epoch)
    return run, epoch


def test_it_goes_on_and_ends_as_if_nothing_had_happened(
    shape_photos: Path, whole: tuple[Path, dict[str, Any]], killed: tuple[Path, int], tmp_path: Path
) -> None:
    run, epoch = Path(shutil.copytree(killed[0], tmp_path / "run")), killed[1]
    result, said = _finished(shape_photos, run, SCRATCH)
    resumed = re.search(r"^scratch: goes on after epoch (\d+)$", said, re.MULTILINE)
    assert resumed, said
    # History is written before the backup; the kill may have come in between, or an epoch later.
    assert epoch - 1 <= int(resumed[1]) < 30
    _assert_the_same_training(run, whole[0])
    assert result["test"]["accuracy"] == pytest.approx(whole[1]["test"]["accuracy"], abs=0.06)
    assert not (run / "backup").exists()
    assert (run / "run.json").is_file()


@pytest.mark.parametrize("other", [("--seed", "4"), ("--no-flip",)])
def test_other_settings_begin_anew(shape_photos: Path, killed: tuple[Path, int], tmp_path: Path, other: Any) -> None:
    run = Path(shutil.copytree(killed[0], tmp_path / "run"))
    shorter = tuple("2" if option == "30" else option for option in SCRATCH)
    _, said = _finished(shape_photos, run, (*shorter, *other))
    assert "goes on" not in said
    assert [line.epoch for line in read_history(run / "history.csv")] == [1, 2]
    assert not (run / "backup").exists()


def test_a_damaged_backup_is_said_and_training_begins_anew(
    shape_photos: Path, killed: tuple[Path, int], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(killed[0], tmp_path / "run"))
    path = run / "backup" / "scratch.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    result, said = _finished(shape_photos, run, SCRATCH)
    assert "scratch.safetensors: damaged" in said and "begins anew" in said
    assert result["stages"][0]["epochs"] == len(read_history(run / "history.csv"))


@pytest.mark.parametrize(("stage", "epoch"), [("top", 2), ("deep", 1)])
def test_fine_tuning_goes_on_in_the_stage_where_it_was_killed(
    shape_photos: Path, mobilenet_weights: Path, tuned: Path, tmp_path: Path, stage: str, epoch: int
) -> None:
    options, run = _fine_tuning(mobilenet_weights), tmp_path / "run"
    _kill_in(shape_photos, run, options, stage, epoch)
    _, said = _finished(shape_photos, run, options)
    assert re.search(rf"^{stage}: goes on after epoch \d$", said, re.MULTILINE), said
    if stage == "deep":
        assert re.search(r"^top: goes on after epoch 3$", said, re.MULTILINE), said
    _assert_the_same_training(run, tuned)
    assert not (run / "backup").exists()


def _fine_tuning(weights: Path) -> tuple[str, ...]:
    backbone = ("--backbone", "mobilenetv2-0.35", "--weights", str(weights), "--size", "96")
    return (*backbone, "--epochs", "2", "--learning-rate", "0.0003")


@pytest.fixture(scope="module")
def tuned(shape_photos: Path, mobilenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tuned without interruption."""
    run = tmp_path_factory.mktemp("tuned") / "run"
    _finished(shape_photos, run, _fine_tuning(mobilenet_weights))
    return run
