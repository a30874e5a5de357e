"""The gate: a variant that is broken in one of the usual ways does not pass, and the reason is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from device.contract import Decision, EngineKind, TensorSpec
from device.tryout import Tryout
from export.boards import Board
from export.budget import Budget
from export.gate import Check, Outcome, judge
from export.onnx import convert_onnx
from export.operators import Operators, beside_accelerator, list_operators
from export.parity import Proof, Reference, measure
from export.recipe import Form, Recipe, Target
from export.source import make_source
from export.tflite import convert_tflite
from export.workshop import Naming, Workshop
from pipeline.backbones import Normalisation
from pipeline.display import Silent
from pipeline.model import LOGITS
from pipeline.run import open_run
from pipeline.trained import TrainedClassifier, load_trained

FLOAT_TFLITE = Target(EngineKind.LITERT, Form(Recipe.FLOAT32))
INT8_TFLITE = Target(EngineKind.LITERT, Form(Recipe.STATIC_INT8))
FLOAT_ONNX = Target(EngineKind.ONNX, Form(Recipe.FLOAT32))


@pytest.fixture(scope="module")
def workshop(run_folder: Path) -> Workshop:
    run = open_run(run_folder)
    return Workshop(run, run.photos(), Budget(5.0, 30.0), Naming("signs", "1.0.0"), Silent())


@pytest.fixture(scope="module")
def trained(run_folder: Path) -> TrainedClassifier:
    return load_trained(open_run(run_folder))


def _examine(workshop: Workshop, target: Target, trained: TrainedClassifier, calibration: object = None) -> Outcome:
    photos = workshop.photos.calibration if calibration is None else calibration
    convert = convert_tflite if target.engine is EngineKind.LITERT else convert_onnx
    return workshop.examine(target, convert(make_source(trained, photos), target.recipe))  # type: ignore[arg-type]


def _failed(outcome: Outcome) -> set[str]:
    assert not outcome.included
    assert outcome.reason
    return {check.name for check in outcome.checks if not check.passed}


@pytest.mark.parametrize("target", [FLOAT_TFLITE, FLOAT_ONNX], ids=lambda target: target.name)
def test_what_is_not_broken_passes_every_check(workshop: Workshop, trained: TrainedClassifier, target: Target) -> None:
    outcome = _examine(workshop, target, trained)
    assert outcome.included
    assert outcome.reason == ""
    assert len(outcome.checks) >= 6


@pytest.mark.parametrize("target", [FLOAT_TFLITE, FLOAT_ONNX], ids=lambda target: target.name)
def test_wrong_normalisation_is_caught(workshop: Workshop, trained: TrainedClassifier, target: Target) -> None:
    # As if 0..1 had been meant where the network learned -1..1.
    wrong = Normalisation(mean=(0.0, 0.0, 0.0), scale=(255.0, 255.0, 255.0))
    assert "drop_points" in _failed(_examine(workshop, target, replace(trained, normalisation=wrong)))


@pytest.mark.parametrize("target", [FLOAT_TFLITE, FLOAT_ONNX], ids=lambda target: target.name)
def test_swapped_channels_are_caught(workshop: Workshop, trained: TrainedClassifier, target: Target) -> None:
    swapped = replace(trained.normalisation, bgr=not trained.normalisation.bgr)
    assert "drop_points" in _failed(_examine(workshop, target, replace(trained, normalisation=swapped)))


def test_shifted_labels_are_caught(workshop: Workshop, trained: TrainedClassifier) -> None:
    model = tf_keras.models.clone_model(trained.model)
    model.set_weights(trained.model.get_weights())
    head = model.get_layer(LOGITS)
    head.set_weights([np.roll(weight, 1, axis=-1) for weight in head.get_weights()])
    assert {"drop_points", "worst_class_drop_points"} <= _failed(
        _examine(workshop, FLOAT_TFLITE, replace(trained, model=model))
    )


def test_int8_that_saturates_is_caught(workshop: Workshop, trained: TrainedClassifier) -> None:
    # Ranges of activations that nearly black pictures show: all else is cut off.
    dark = (workshop.photos.calibration[:8] // 64).astype(np.uint8)
    source = make_source(trained, dark)
    source = replace(source, calibration=dark)
    outcome = workshop.examine(INT8_TFLITE, convert_tflite(source, Recipe.STATIC_INT8))
    assert "drop_points" in _failed(outcome)


def _judged(own: list[int], exact: list[int], budget: Budget, classes: int = 3) -> dict[str, Check]:
    """Answers against answers of a float model that is always right."""
    names = tuple("abcdefgh"[:classes])
    answers, reference = np.eye(classes, dtype=np.float32)[own], np.eye(classes, dtype=np.float32)[exact]
    truth = Reference(reference, Decision(), np.array(exact), names)
    spec = TensorSpec(name="x", shape=(1, classes), dtype="float32")
    proof = Proof(measure(answers, Decision(), truth), Decision(), answers, spec, spec)
    tried = Tryout(answers[:2], 1.0, 1.0)
    return {check.name: check for check in judge(proof, truth, budget, Operators({}, (), ()), tried, [0, 1])}


def test_an_average_does_not_hide_a_lost_class() -> None:
    exact = [0] * 90 + [1] * 90 + [2] * 4
    own = [0] * 90 + [1] * 90 + [0] * 4
    checks = _judged(own, exact, Budget(5.0, 10.0))
    assert checks["drop_points"].passed
    assert not checks["worst_class_drop_points"].passed
    assert checks["worst_class_drop_points"].value == pytest.approx(100.0)
    assert "class 'c' loses 100.0 points (4 photos)" in checks["worst_class_drop_points"].reason


def test_one_photo_of_a_small_class_is_no_evidence() -> None:
    exact = [0] * 90 + [1] * 90 + [2] * 4
    own = [0] * 90 + [1] * 90 + [0] + [2] * 3
    assert _judged(own, exact, Budget(5.0, 10.0))["worst_class_drop_points"].passed


def test_one_answer_to_everything_is_caught_though_it_be_right() -> None:
    checks = _judged([0] * 8, [0] * 8, Budget(100.0, 100.0))
    assert not checks["answers_alike"].passed


def test_another_answer_in_a_fresh_process_is_caught(workshop: Workshop, trained: TrainedClassifier) -> None:
    outcome = _examine(workshop, FLOAT_TFLITE, trained)
    assert outcome.proof
    assert outcome.tryout
    other = replace(outcome.tryout, answers=np.roll(outcome.tryout.answers, 1, axis=0))
    checks = judge(outcome.proof, workshop.reference, Budget(), Operators({}, (), ()), other, workshop.golden)
    assert {check.name for check in checks if not check.passed} == {"fresh_process_difference"}


def test_operators_of_tensorflow_itself_are_seen() -> None:
    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4), tf.float32)])
    def odd(x: tf.Tensor) -> tf.Tensor:
        return tf.linalg.inv(x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([odd.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    found = list_operators(FLOAT_TFLITE, bytes(converter.convert()))
    assert found.foreign == ("FlexMatrixInverse",)


def test_a_float_operator_in_an_integer_file_is_seen(workshop: Workshop, trained: TrainedClassifier) -> None:
    model = convert_tflite(make_source(trained, workshop.photos.calibration), Recipe.FLOAT32)
    assert "CONV_2D" in list_operators(INT8_TFLITE, model).in_float
    assert list_operators(FLOAT_TFLITE, model).in_float == ()


def test_operators_that_an_accelerator_lacks_are_warned_of() -> None:
    accelerated = Board.CORAL.selection.accelerated
    sound = Operators({"CONV_2D": 9, "QUANTIZE": 1, "SOFTMAX": 1}, (), ())
    assert beside_accelerator(sound, accelerated) == ""
    assert beside_accelerator(replace(sound, counts={"HARD_SWISH": 3}), frozenset()) == ""
    warning = beside_accelerator(replace(sound, counts={"HARD_SWISH": 3, "CONV_2D": 1}), accelerated)
    assert "does not know HARD_SWISH (3)" in warning
