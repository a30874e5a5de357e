"""Photos that an export or an adoption asks for again, and that are not what they should be."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import onnx_model

Edgegraft = Callable[..., "subprocess.CompletedProcess[str]"]


def _one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


@pytest.fixture
def one_class(drawn_photos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "one"
    chosen = sorted(path for path in drawn_photos.iterdir() if path.is_dir())[0]
    shutil.copytree(chosen, folder / chosen.name)
    return folder


def test_photos_of_one_class_do_not_train_a_form(
    edgegraft: Edgegraft, run_folder: Path, one_class: Path, tmp_path: Path
) -> None:
    # Photos are known by content: as long as all are in the cache, no folder is asked for.
    export = ("export", run_folder, "--out", "x.egb", "--recipes", "pruned50_int8", "--data", one_class)
    line = _one_line(edgegraft(*export, shell='EDGEGRAFT_CACHE=empty "$@"'))
    assert f"{one_class}: " in line
    assert " gone (" in line
    assert "give the folder with the photos of that training" in line
    assert not (tmp_path / "x.egb").exists()
    assert not (run_folder / "compressed" / "pruned50").exists()


def test_photos_of_one_class_prove_nothing(edgegraft: Edgegraft, one_class: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_model())
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    arguments = ("--labels", "labels.txt", "--data", one_class, "--out", "x.egb")
    line = _one_line(edgegraft("bundle", "model.onnx", *arguments))
    assert "class" in line
    assert not (tmp_path / "x.egb").exists()
