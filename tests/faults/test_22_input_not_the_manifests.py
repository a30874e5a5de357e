"""Row 22: a model whose input is of another shape or type than the manifest says."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import command_refusal, edited, onnx_model, refusal, replaced, write_colour_bundle

from device.classifier import open_classifier
from device.errors import EngineError
from tests.fault_board import FaultBoard


def test_a_manifest_that_takes_other_pixels_than_its_preprocessing_gives_is_refused(
    colour_bundle: Path, tmp_path: Path
) -> None:
    for shape in ([1, 224, 224, 3], [1, 3, 16, 16], [16, 16, 3], [2, 16, 16, 3], [1, 16, 16, 1]):
        data = edited(colour_bundle, lambda tree, shape=shape: tree["variants"][0]["input"].update(shape=shape))
        message = refusal(tmp_path / "input.egb", data)
        assert f"takes {tuple(shape)} uint8; the preprocessing gives (1, 16, 16, 3) uint8" in message
        assert message.endswith("export the bundle again")
    data = edited(colour_bundle, lambda tree: tree["variants"][0]["input"].update(dtype="float32"))
    assert "takes (1, 16, 16, 3) float32" in refusal(tmp_path / "input.egb", data)


def test_a_model_of_another_shape_behind_a_right_manifest_is_refused_when_it_is_loaded(
    colour_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "input.egb"
    path.write_bytes(replaced(colour_bundle, "onnx-float32.onnx", onnx_model(shape=(1, 20, 20, 3))))
    with pytest.raises(EngineError, match=r"input is \(1, 20, 20, 3\) uint8, the manifest says \(1, 16, 16, 3\) uint8"):
        open_classifier(path, "onnx-float32")
    with open_classifier(path, "tflite-float32") as classifier:  # the others are what they say
        assert classifier.variant.name == "tflite-float32"


def test_a_model_of_the_other_runtime_behind_a_right_manifest_is_refused(
    colour_bundle: Path, colour_models: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "input.egb"
    path.write_bytes(replaced(colour_bundle, "tflite-float32.tflite", colour_models["onnx-float32"]))
    with pytest.raises(EngineError, match="LiteRT cannot load the model"):
        open_classifier(path)


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    data = edited(colour_bundle, lambda tree: tree["preprocess"].update(height=24))
    line = command_refusal(tmp_path / "bad.egb", data)
    assert "takes (1, 16, 16, 3) uint8; the preprocessing gives (1, 24, 16, 3) uint8: export the bundle again" in line


def test_an_installer_refuses_both(fault_board: FaultBoard, colour_models: dict[str, bytes], tmp_path: Path) -> None:
    whole = write_colour_bundle(tmp_path / "whole.egb", {"onnx-float32": colour_models["onnx-float32"]})
    path = tmp_path / "input.egb"
    path.write_bytes(edited(whole, lambda tree: tree["variants"][0]["input"].update(dtype="float32")))
    assert fault_board.refused(path, 10).endswith("export the bundle again")


def test_an_installer_tries_the_model_behind_a_right_manifest(
    fault_board: FaultBoard, colour_models: dict[str, bytes], tmp_path: Path
) -> None:
    whole = write_colour_bundle(tmp_path / "whole.egb", {"onnx-float32": colour_models["onnx-float32"]})
    path = tmp_path / "input.egb"
    path.write_bytes(replaced(whole, "onnx-float32.onnx", onnx_model(shape=(1, 20, 20, 3))))
    message = fault_board.refused(path, 16)
    assert "input is (1, 20, 20, 3) uint8, the manifest says (1, 16, 16, 3) uint8" in message
    assert message.endswith("nothing was switched, what ran before goes on running")
