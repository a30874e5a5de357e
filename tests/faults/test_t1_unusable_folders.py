"""T1: empty folder, one class, a class with one photo: refused with counts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.errors import DatasetError
from pipeline.train import train

MakeFolder = Callable[..., Path]


def _folder(kind: str, make_folder: MakeFolder, tmp_path: Path) -> Path:
    if kind == "nothing":
        return tmp_path / "nowhere"
    if kind == "file":
        (tmp_path / "file").write_bytes(b"no folder")
        return tmp_path / "file"
    counts = {
        "empty": {},
        "no photos": {"rose": 0, "tulip": 0},
        "one class": {"rose": 9},
        "one photo": {"rose": 9, "tulip": 1},
        "two photos": {"rose": 9, "tulip": 2},
        "one empty class": {"rose": 9, "tulip": 9, "unused": 0},
    }[kind]
    (tmp_path / "photos").mkdir(exist_ok=True)
    return make_folder(counts)


CASES = [
    ("nothing", r"nowhere: no such folder; expected one with a folder of photos per class"),
    ("file", r"file: no such folder; expected one with a folder of photos per class"),
    ("empty", r"photos: no photos at all; a classifier needs two classes or more, a folder each"),
    ("no photos", r"too few usable photos in rose, tulip \(rose: 0, tulip: 0\); every class needs 3 or more"),
    ("one class", r"photos: rose: 9; a classifier needs two classes or more, a folder each"),
    ("one photo", r"too few usable photos in tulip \(rose: 9, tulip: 1\); every class needs 3 or more"),
    ("two photos", r"too few usable photos in tulip \(rose: 9, tulip: 2\); every class needs 3 or more"),
    ("one empty class", r"too few usable photos in unused \(rose: 9, tulip: 9, unused: 0\)"),
]


@pytest.mark.parametrize(("kind", "message"), CASES)
def test_refused_with_counts(make_folder: MakeFolder, tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        train(TrainConfig(_folder(kind, make_folder, tmp_path), tmp_path / "run"))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("kind", ["nothing", "empty", "one class", "one photo"])
def test_the_command_fails_with_one_clear_line(make_folder: MakeFolder, tmp_path: Path, kind: str) -> None:
    folder = _folder(kind, make_folder, tmp_path)
    command = [sys.executable, "-m", "device.cli", "train", str(folder), "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"edgegraft train: {folder}: ")


def test_a_finished_run_survives_an_attempt_on_an_unusable_folder(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(b"the run of last week")
    with pytest.raises(DatasetError):
        train(TrainConfig(make_folder({"rose": 9}), tmp_path / "run", overwrite=True))
    assert (tmp_path / "run" / "run.json").read_bytes() == b"the run of last week"
