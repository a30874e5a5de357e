"""T3: two classes that hold the same photo: named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.errors import DatasetError
from pipeline.train import train

MakeFolder = Callable[..., Path]


def test_both_files_are_named(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"rose": 5, "tulip": 5})
    shutil.copy(root / "rose" / "003.png", root / "tulip" / "other name.png")
    with pytest.raises(
        DatasetError, match=r"in two classes: rose/003\.png and tulip/other name\.png; remove the wrong"
    ):
        train(TrainConfig(root, tmp_path / "run", size=32))


def test_across_ready_made_splits(make_folder: MakeFolder, tmp_path: Path) -> None:
    make_folder({"rose": 5, "tulip": 6}, root="photos/train")
    root = make_folder({"rose": 3, "tulip": 4}, root="photos/test").parent
    shutil.copy(root / "train" / "rose" / "000.png", root / "test" / "tulip" / "leak.png")
    with pytest.raises(DatasetError, match=r"test/tulip/leak\.png.*train/rose/000\.png|train/rose/000\.png.*leak\.png"):
        train(TrainConfig(root, tmp_path / "run", size=32))


def test_many_pairs_are_counted(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"rose": 9, "tulip": 5})
    for path in sorted((root / "rose").iterdir()):
        shutil.copy(path, root / "tulip" / f"copy of {path.name}")
    with pytest.raises(DatasetError) as caught:
        train(TrainConfig(root, tmp_path / "run", size=32))
    message = str(caught.value)
    assert message.count(" and tulip/copy of ") == 5
    assert " and 4 more; remove the wrong one" in message


def test_the_command_fails_with_one_clear_line(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"rose": 5, "tulip": 5})
    shutil.copy(root / "rose" / "003.png", root / "tulip" / "x.png")
    command = [sys.executable, "-m", "device.cli", "train", str(root), "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line == (
        f"edgegraft train: {root}: the same photo is in two classes: rose/003.png and tulip/x.png; remove the wrong one"
    )
