"""T4: Unicode, spaces, very long and hidden file names, in a training from end to end."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.dataset import list_folder
from pipeline.errors import DatasetError
from pipeline.run import open_run

MakeFolder = Callable[..., Path]

LONG = "x" * 250 + ".png"
NOT_UTF8 = os.fsdecode(b"m\xfcsli.png")


@pytest.fixture
def odd_folder(make_folder: MakeFolder) -> Path:
    root = make_folder({"日本 🍓": 4, "with space": 4})
    japan = root / "日本 🍓"
    (japan / "000.png").rename(japan / LONG)
    (japan / "001.png").rename(japan / 'quote " comma , line\nend.png')
    (japan / "002.png").rename(japan / NOT_UTF8)
    (japan / "._003.png").write_bytes(b"what macOS leaves behind")
    (root / ".DS_Store").write_bytes(b"and here")
    (japan / os.fsdecode(b"gr\xfcn.txt")).write_bytes(b"no photo, and no UTF-8 name either")
    return root


def _train(root: Path, out: Path, weights: Path) -> subprocess.CompletedProcess[str]:
    options = ["--backbone", "mobilenetv2-0.35", "--weights", str(weights), "--size", "32", "--json"]
    command = [sys.executable, "-m", "device.cli", "train", str(root), "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_training_on_odd_names(odd_folder: Path, tmp_path: Path, shared_data: Path) -> None:
    done = _train(odd_folder, tmp_path / "run", shared_data / "weights" / "mobilenet_v2_0.35_224_no_top.h5")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["classes"] == ["with space", "日本 🍓"]
    assert sum(result["photos"].values()) == 8
    assert len(result["left_out"]) == 1
    assert open_run(tmp_path / "run").record.classes == ("with space", "日本 🍓")
    with (tmp_path / "run" / "splits.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        names = {Path(row["file"]).name for row in csv.DictReader(stream)}
    assert {LONG, 'quote " comma , line\nend.png', NOT_UTF8} <= names
    assert not [name for name in names if name.startswith(".")]


def test_a_class_folder_whose_name_is_no_utf8_is_refused_before_training(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3})
    (root / "b").rename(root / os.fsdecode(b"m\xfcsli"))
    with pytest.raises(DatasetError, match=r"rename"):
        list_folder(root)
