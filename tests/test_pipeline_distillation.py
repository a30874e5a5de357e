"""Learning from a teacher: its soft answers, the loss as its paper has it, and a student that comes nearer to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from trainings import SHAPES, plain_session, shape_task, shapes

from pipeline.backbones.base import NO_WEIGHTS
from pipeline.config import Budget, TrainConfig
from pipeline.distillation import TEMPERATURE, Teacher, make_loss, soften
from pipeline.errors import RunError, TrainingError
from pipeline.fitted import Fitted
from pipeline.fitting import fit_classifier, fit_from_scratch
from pipeline.recipes import Recipe, StageConfig
from pipeline.run import Run
from pipeline.train import train
from pipeline.trained import load_trained


@pytest.fixture(scope="module")
def teacher_run(shape_photos: Path, mobilenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return train(TrainConfig(shape_photos, folder, "mobilenetv2-0.35", str(mobilenet_weights), 96, budget=Budget.FAST))


@pytest.fixture(scope="module")
def teacher(teacher_run: Run) -> Teacher:
    """Of students at 32 pixels: their photos are resized to its 96."""
    return Teacher(teacher_run, SHAPES, (32, 32))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_softening_is_the_softmax_of_logits_divided_by_the_temperature() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, 4))
    found = soften(tf.constant(_softmax(logits), tf.float32), 3.0)
    np.testing.assert_allclose(found, _softmax(logits / 3.0), atol=1e-5)


def test_softening_survives_a_probability_of_nought() -> None:
    found = soften(tf.constant([[1.0, 0.0, 0.0]]), TEMPERATURE).numpy()
    assert np.isfinite(found).all()
    assert found[0, 0] > 0.99


def test_soft_targets_are_the_teachers_softened_answers(teacher_run: Run) -> None:
    pixels = shapes(4, 96, seed=8).pixels
    found = Teacher(teacher_run, SHAPES, (96, 96)).soft_targets(pixels)
    expected = soften(load_trained(teacher_run).predict(pixels), TEMPERATURE)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


def test_photos_of_another_size_are_resized_in_the_graph_and_by_litert_alike(teacher: Teacher) -> None:
    pixels = shapes(4, 32, seed=8).pixels
    in_graph = teacher.soften(tf.constant(pixels, tf.float32))
    np.testing.assert_allclose(teacher.soft_targets(pixels), in_graph, atol=1e-3)


@pytest.mark.parametrize("classes", [("cross", "disc"), ("disc", "cross", "stripes"), ("a", "b", "c")])
def test_a_teacher_of_other_classes_is_refused(teacher_run: Run, classes: tuple[str, ...]) -> None:
    with pytest.raises(
        TrainingError, match=rf"the teacher knows cross, disc, stripes; the photos are of {', '.join(classes)}: train"
    ):
        Teacher(teacher_run, classes, (96, 96))


def test_a_teacher_without_weights_is_refused(teacher_run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"weights\.safetensors: missing or damaged"):
        Teacher(replace(teacher_run, folder=tmp_path), SHAPES, (96, 96))


def _cross_entropy(targets: NDArray[np.float64], answers: NDArray[np.float64]) -> float:
    return float(-(targets * np.log(answers)).sum(axis=1).mean())


@pytest.fixture
def answers() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """One-hot labels, the teacher's logits and the student's."""
    random = np.random.default_rng(4)
    return np.eye(3)[random.integers(3, size=6)], random.normal(0, 2, (6, 3)), random.normal(0, 2, (6, 3))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_a_teacher_the_loss_is_cross_entropy(
    answers: tuple[NDArray[np.float64], ...], smoothing: float
) -> None:
    hard, _, student = answers
    found = float(make_loss(3, smoothing, taught=False)(hard.astype(np.float32), _softmax(student).astype(np.float32)))
    assert found == pytest.approx(_cross_entropy(hard * (1 - smoothing) + smoothing / 3, _softmax(student)), rel=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_a_teacher_the_loss_is_that_of_the_paper(
    answers: tuple[NDArray[np.float64], ...], smoothing: float
) -> None:
    hard, teacher, student = answers
    targets = np.concatenate([hard, _softmax(teacher / TEMPERATURE)], axis=1).astype(np.float32)
    found = float(make_loss(3, smoothing, taught=True)(targets, _softmax(student).astype(np.float32)))
    labelled = _cross_entropy(hard * (1 - smoothing) + smoothing / 3, _softmax(student))
    imitation = _cross_entropy(_softmax(teacher / TEMPERATURE), _softmax(student / TEMPERATURE))
    assert found == pytest.approx(0.3 * labelled + 0.7 * TEMPERATURE**2 * imitation, rel=1e-4)


def test_no_student_answers_better_than_the_teacher_itself(answers: tuple[NDArray[np.float64], ...]) -> None:
    hard, teacher, student = answers
    loss = make_loss(3, 0.0, taught=True)
    targets = np.concatenate([hard, _softmax(teacher / TEMPERATURE)], axis=1).astype(np.float32)
    parrot = float(loss(targets, _softmax(teacher).astype(np.float32)))
    assert parrot < float(loss(targets, _softmax(student).astype(np.float32)))


def _student(folder: Path, teacher: Teacher | None) -> Fitted:
    """LeNet-5 whose labels are all wrong by one: only the teacher knows better."""
    task = shape_task("lenet5", NO_WEIGHTS, 32, each=48)
    wrong = replace(task.train, labels=(task.train.labels + 1) % 3)
    shifted = replace(task.validation, labels=(task.validation.labels + 1) % 3)
    if teacher is not None:
        shifted = task.validation
    config = StageConfig(epochs=25, patience=25, batch=32, learning_rate=3e-3, averaging=0.9)
    return fit_from_scratch(
        replace(task, train=wrong, validation=shifted), Recipe(scratch=config), plain_session(folder), teacher
    )


def test_a_student_comes_nearer_to_its_teacher(teacher: Teacher, tmp_path: Path) -> None:
    unseen = shapes(40, 32, seed=9).pixels
    known = teacher.soft_targets(unseen).argmax(axis=1)
    taught = _student(tmp_path / "taught", teacher).classifier.predict(unseen).argmax(axis=1)
    alone = _student(tmp_path / "alone", None).classifier.predict(unseen).argmax(axis=1)
    assert (taught == known).mean() > (alone == known).mean() + 0.15


def test_fine_tuning_learns_from_a_teacher_too(teacher_run: Run, mobilenet_weights: Path, tmp_path: Path) -> None:
    stage = StageConfig(epochs=1, patience=1, batch=16, learning_rate=1e-4)
    recipe = Recipe(top=stage, deep=StageConfig(epochs=0, patience=0), most_views=1)
    task = shape_task("mobilenetv2-0.35", mobilenet_weights, 32, each=8)
    plain = fit_classifier(task, recipe, plain_session(tmp_path / "plain"))
    taught = fit_classifier(task, recipe, plain_session(tmp_path / "taught"), Teacher(teacher_run, SHAPES, (32, 32)))
    assert [stage.name for stage in taught.stages] == [stage.name for stage in plain.stages]
    assert np.isfinite(taught.history[0].train_loss)
    assert taught.history[0].train_loss != pytest.approx(plain.history[0].train_loss, rel=1e-3)
