"""T5: labels that would shift because a split lacks a class: refused."""

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


@pytest.fixture
def splits(make_folder: MakeFolder) -> Path:
    for number, split in enumerate(("train", "val", "test")):
        root = make_folder({"apple": 4 + number, "kiwi": 10, "pear": 20}, root=f"photos/{split}").parent
    return root


@pytest.mark.parametrize(("split", "value"), [("val", "validation"), ("test", "test")])
def test_a_split_without_a_class_folder_is_named(splits: Path, tmp_path: Path, split: str, value: str) -> None:
    shutil.rmtree(splits / split / "apple")
    with pytest.raises(DatasetError, match=rf"{split}: the {value} split lacks apple; labels would shift"):
        train(TrainConfig(splits, tmp_path / "run", size=32))


def test_a_class_that_train_lacks_is_named(splits: Path, tmp_path: Path) -> None:
    shutil.rmtree(splits / "train" / "kiwi")
    with pytest.raises(DatasetError, match=r"split has kiwi, which train/ lacks; labels would shift"):
        train(TrainConfig(splits, tmp_path / "run", size=32))


@pytest.mark.parametrize(("split", "value"), [("train", "train"), ("val", "validation"), ("test", "test")])
def test_an_empty_class_folder_is_named(splits: Path, tmp_path: Path, split: str, value: str) -> None:
    for path in (splits / split / "pear").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=rf"the {value} split has no photo of pear; add some"):
        train(TrainConfig(splits, tmp_path / "run", size=32))


def test_the_command_fails_with_one_clear_line(splits: Path, tmp_path: Path) -> None:
    shutil.rmtree(splits / "test" / "apple")
    command = [sys.executable, "-m", "device.cli", "train", str(splits), "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line == (
        f"edgegraft train: {splits / 'test'}: the test split lacks apple; labels would shift. "
        f"Give every split the same class folders"
    )
    assert not (tmp_path / "run").exists()
