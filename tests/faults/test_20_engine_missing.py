"""Row 20: a bundle whose runtime this machine lacks, or whose files are another runtime's than they are said to be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import command_refusal, edited, refusal, write_colour_bundle

from device.classifier import open_classifier
from device.errors import EngineError
from tests.fault_board import FaultBoard, snapshot
from tests.releases import require_good

Board = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def onnx_bundle(colour_models: dict[str, bytes], tmp_path: Path) -> Path:
    models = {name: model for name, model in colour_models.items() if name.startswith("onnx")}
    return write_colour_bundle(tmp_path / "onnx.egb", models)


def install_there(board_python: Board, board: FaultBoard, bundle: Path) -> tuple[int, str]:
    """The installer on a board with another runtime; its exit code, and the line that it says."""
    before = snapshot(board.store.root)
    done = board_python("-m", "tests.fault_program", "install", board.store.root, bundle)
    require_good(board.store, "1.0.0")
    assert snapshot(board.store.root) == before
    board.take_good()
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr.strip()


def of_another_architecture(library: Path, machine: bytes) -> None:
    """In its place a copy whose header (ELF, e_machine) says that it is for another processor."""
    data = bytearray(library.read_bytes())
    data[18:20] = machine
    library.unlink()
    library.write_bytes(data)


def test_an_installer_refuses_what_no_runtime_here_runs(
    board_python: Board, fault_board: FaultBoard, onnx_bundle: Path
) -> None:
    code, line = install_there(board_python, fault_board, onnx_bundle)
    assert code == 15
    assert (
        f"{onnx_bundle}: no variant can run, onnxruntime is not installed here: pip install 'edgegraft[onnx]'; what ran"
        in line
    )


def test_an_installer_refuses_where_the_runtime_is_for_another_processor(
    board_python: Board, fault_board: FaultBoard, tmp_path: Path
) -> None:
    package = tmp_path / "site-packages" / "ai_edge_litert"
    real = package.resolve()
    package.unlink()
    shutil.copytree(real, package, copy_function=os.link)
    for library in package.rglob("*.so"):
        of_another_architecture(library, b"\xf7\x00")  # EM_BPF: no board's
    code, line = install_there(board_python, fault_board, fault_board.good)
    assert code == 16
    assert "tflite-float32 on cpu: " in line
    assert line.endswith("nothing was switched, what ran before goes on running")


def test_an_installer_refuses_files_of_another_runtime(
    fault_board: FaultBoard, colour_models: dict[str, bytes], tmp_path: Path
) -> None:
    whole = write_colour_bundle(tmp_path / "whole.egb", {"tflite-float32": colour_models["tflite-float32"]})
    path = tmp_path / "mistaken.egb"
    path.write_bytes(edited(whole, lambda manifest: manifest["variants"][0].update(engine="onnx")))
    assert "cannot load the model" in fault_board.refused(path, 16)


def test_an_installer_refuses_a_runtime_that_nobody_knows(
    fault_board: FaultBoard, colour_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "unknown.egb"
    path.write_bytes(edited(colour_bundle, lambda manifest: manifest["variants"][0].update(engine="tensorrt")))
    assert "tensorrt" in fault_board.refused(path, 10)


def test_a_board_without_the_runtime_says_what_to_install(board_python: Board, onnx_bundle: Path) -> None:
    result = board_python("-m", "device.cli", "run", onnx_bundle, "--camera", "scene:?live=0&frames=1")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "no variant can run" in line
    assert "pip install 'edgegraft[onnx]'" in line


def test_a_bench_there_chooses_nothing(board_python: Board, onnx_bundle: Path) -> None:
    result = board_python("-m", "device.cli", "bench", onnx_bundle, "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert report["chosen"] is None
    assert all("edgegraft[onnx]" in one["error"] for one in report["results"])


def test_a_board_takes_what_it_can_run_from_a_bundle_with_more(board_python: Board, colour_bundle: Path) -> None:
    result = board_python("-m", "device.cli", "bench", colour_bundle, "--runs", "2", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["chosen"].startswith("tflite")


def test_a_file_of_another_runtime_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    def mistaken(manifest: dict[str, Any]) -> None:
        for variant in manifest["variants"]:
            variant["engine"] = "onnx" if variant["engine"] == "litert" else "litert"

    path = tmp_path / "mistaken.egb"
    assert "tflite-float32" in command_refusal(path, edited(colour_bundle, mistaken))
    for name in ("tflite-float32", "onnx-float32"):
        with pytest.raises(EngineError, match="cannot load the model"):
            open_classifier(path, name)


def test_a_runtime_that_nobody_knows_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    data = edited(colour_bundle, lambda manifest: manifest["variants"][0].update(engine="tensorrt"))
    assert "tensorrt" in refusal(tmp_path / "unknown.egb", data)
