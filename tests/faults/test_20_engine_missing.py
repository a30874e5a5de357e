"""Row 20: a bundle whose runtime this machine lacks, or whose files are another runtime's than they are said to be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import command_refusal, edited, refusal, write_colour_bundle

from device.classifier import open_classifier
from device.errors import EngineError

Board = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def onnx_bundle(colour_models: dict[str, bytes], tmp_path: Path) -> Path:
    models = {name: model for name, model in colour_models.items() if name.startswith("onnx")}
    return write_colour_bundle(tmp_path / "onnx.egb", models)


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
