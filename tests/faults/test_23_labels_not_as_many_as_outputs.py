"""Row 23: labels that are not as many as the model's outputs would shift every answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import command_refusal, edited, onnx_model, refusal, replaced, write_colour_bundle

from device.classifier import open_classifier
from device.errors import EngineError
from tests.fault_board import FaultBoard


@pytest.mark.parametrize("classes", [["red", "green"], ["background", "red", "green", "blue"]])
def test_a_label_too_few_or_too_many_is_refused(colour_bundle: Path, tmp_path: Path, classes: list[str]) -> None:
    message = refusal(tmp_path / "labels.egb", edited(colour_bundle, lambda tree: tree.update(classes=classes)))
    assert f"puts out (1, 3), but the manifest lists {len(classes)} classes: the labels belong to another" in message


def test_a_model_with_another_number_of_outputs_behind_a_right_manifest_is_refused(
    colour_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "labels.egb"
    path.write_bytes(replaced(colour_bundle, "onnx-float32.onnx", onnx_model(classes=4)))
    with pytest.raises(EngineError, match=r"output is \(1, 4\) float32, the manifest says \(1, 3\) float32"):
        open_classifier(path, "onnx-float32")


def test_labels_in_another_order_than_the_model_was_proved_with_are_not_hidden_by_their_number(
    colour_bundle: Path, tmp_path: Path
) -> None:
    # Nothing but the signature can tell this; a repeated label, the usual slip, is told.
    data = edited(colour_bundle, lambda tree: tree.update(classes=["red", "green", "green"]))
    assert "lists a class twice: green" in refusal(tmp_path / "labels.egb", data)


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    data = edited(colour_bundle, lambda tree: tree["classes"].append("yellow"))
    assert "but the manifest lists 4 classes" in command_refusal(tmp_path / "bad.egb", data)


@pytest.mark.parametrize("classes", [["red", "green"], ["background", "red", "green", "blue"]])
def test_an_installer_refuses_it(
    fault_board: FaultBoard, colour_bundle: Path, tmp_path: Path, classes: list[str]
) -> None:
    path = tmp_path / "labels.egb"
    path.write_bytes(edited(colour_bundle, lambda tree: tree.update(classes=classes)))
    assert f"but the manifest lists {len(classes)} classes" in fault_board.refused(path, 10)


def test_an_installer_tries_the_model_behind_a_right_manifest(
    fault_board: FaultBoard, colour_models: dict[str, bytes], tmp_path: Path
) -> None:
    whole = write_colour_bundle(tmp_path / "whole.egb", {"onnx-float32": colour_models["onnx-float32"]})
    path = tmp_path / "labels.egb"
    path.write_bytes(replaced(whole, "onnx-float32.onnx", onnx_model(classes=4)))
    assert "output is (1, 4) float32, the manifest says (1, 3) float32" in fault_board.refused(path, 16)
