"""Row 25: an operator that a runtime does not have, on the board and where the file is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import tensorflow as tf
import tf_keras
from bundles import command_refusal, onnx_model, replaced, write_colour_bundle

from device.classifier import open_classifier
from device.contract import EngineKind
from device.errors import EngineError
from export.budget import Budget
from export.recipe import Form, Recipe, Target
from export.workshop import Naming, Workshop
from pipeline.display import Silent
from pipeline.run import open_run
from pipeline.trained import TrainedClassifier, load_trained
from tests.fault_board import FaultBoard


def test_a_board_refuses_the_variant_and_runs_another(colour_bundle: Path, tmp_path: Path) -> None:
    proto = onnx.load_from_string(onnx_model())
    proto.graph.node[0].op_type = "Clairvoyance"
    path = tmp_path / "unknown.egb"
    data = replaced(colour_bundle, "onnx-float32.onnx", proto.SerializeToString())
    path.write_bytes(data)
    with pytest.raises(EngineError, match=r"cannot load the model: .*Clairvoyance"):
        open_classifier(path, "onnx-float32")
    open_classifier(path, "tflite-float32").close()


def test_it_is_one_line_on_the_command_line(colour_models: dict[str, bytes], tmp_path: Path) -> None:
    proto = onnx.load_from_string(onnx_model())
    proto.graph.node[0].op_type = "Clairvoyance"
    whole = write_colour_bundle(tmp_path / "whole.egb", {"onnx-float32": colour_models["onnx-float32"]})
    line = command_refusal(tmp_path / "x.egb", replaced(whole, "onnx-float32.onnx", proto.SerializeToString()))
    assert "Clairvoyance" in line


@pytest.fixture(scope="module")
def strange(run_folder: Path) -> TrainedClassifier:
    """The run's classifier with an operator before its answer that neither TFLite nor ONNX knows."""
    trained = load_trained(open_run(run_folder))
    answers = trained.model.output
    turned = tf_keras.layers.Lambda(lambda x: x + 0.0 * tf.math.bessel_i0e(x), name="strange")(answers)
    return replace(trained, model=tf_keras.Model(trained.model.input, turned))


@pytest.mark.parametrize("engine", EngineKind, ids=lambda engine: engine.value)
def test_an_export_says_which_operator_and_goes_on(
    run_folder: Path, strange: TrainedClassifier, engine: EngineKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(run_folder)
    workshop = Workshop(run, run.photos(), Budget(), Naming("signs", "1.0.0"), Silent())
    monkeypatch.setattr("export.workshop.load_trained", lambda run: strange)
    outcome = workshop.make(Target(engine, Form(Recipe.FLOAT32)))
    assert not outcome.included
    assert outcome.model == b""
    assert "BesselI0e" in outcome.reason


def test_an_installer_refuses_it_and_says_which(
    fault_board: FaultBoard, colour_models: dict[str, bytes], tmp_path: Path
) -> None:
    proto = onnx.load_from_string(onnx_model())
    proto.graph.node[0].op_type = "Clairvoyance"
    whole = write_colour_bundle(tmp_path / "whole.egb", {"onnx-float32": colour_models["onnx-float32"]})
    path = tmp_path / "unknown.egb"
    path.write_bytes(replaced(whole, "onnx-float32.onnx", proto.SerializeToString()))
    assert "Clairvoyance" in fault_board.refused(path, 16)
