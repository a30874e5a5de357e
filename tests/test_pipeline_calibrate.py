"""How sure the model may be: temperature and unknown threshold from constructed answers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.prediction import calibrate
from pipeline.calibrate import fit_decision
from pipeline.metrics import expected_calibration_error

CLASSES = 5


def _answers(sharpness: float, n: int = 4000) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Labels drawn from softmax(logits), answers softmax(sharpness * logits): 1 is perfectly calibrated."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (n, CLASSES))
    truth = _softmax(logits)
    labels = np.array([random.choice(CLASSES, p=row) for row in truth], np.int64)
    return _softmax(sharpness * logits).astype(np.float32), labels


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _loss(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean())


def test_over_confident_answers_are_cooled_and_lose_less() -> None:
    probabilities, labels = _answers(sharpness=2.0)
    decision = fit_decision(probabilities, labels)
    # the clipping of tiny probabilities that stand for quantised zeros costs a little of the two
    assert decision.temperature == pytest.approx(2.0, rel=0.2)
    after = calibrate(probabilities, decision.temperature)
    assert _loss(after, labels) < _loss(probabilities, labels) - 0.05
    assert expected_calibration_error(after, labels) < expected_calibration_error(probabilities, labels) / 3


def test_under_confident_answers_are_sharpened_and_lose_less() -> None:
    probabilities, labels = _answers(sharpness=0.5)
    decision = fit_decision(probabilities, labels)
    assert decision.temperature == pytest.approx(0.5, rel=0.2)
    assert _loss(calibrate(probabilities, decision.temperature), labels) < _loss(probabilities, labels) - 0.05


def test_calibrated_answers_stay_nearly_as_they_are() -> None:
    assert fit_decision(*_answers(sharpness=1.0)).temperature == pytest.approx(1.0, rel=0.12)


def test_calibration_never_changes_the_answer() -> None:
    probabilities, labels = _answers(sharpness=2.0)
    after = calibrate(probabilities, fit_decision(probabilities, labels).temperature)
    np.testing.assert_array_equal(after.argmax(axis=1), probabilities.argmax(axis=1))


def test_the_threshold_loses_at_most_two_percent_of_right_answers() -> None:
    probabilities, labels = _answers(sharpness=1.5)
    decision = fit_decision(probabilities, labels)
    after = calibrate(probabilities, decision.temperature)
    right = after.max(axis=1)[after.argmax(axis=1) == labels]
    assert 0.0 < (right < decision.unknown_threshold).mean() <= 0.021  # rounding included
    assert decision.unknown_threshold <= 0.5


def test_the_threshold_is_a_half_at_most_however_sure_the_model_is() -> None:
    labels = np.arange(100) % CLASSES
    probabilities = np.full((100, CLASSES), 0.001, np.float32)
    probabilities[np.arange(100), labels] = 0.996
    decision = fit_decision(probabilities, labels)
    assert decision.unknown_threshold == 0.5
    assert decision.temperature < 1.0


def test_a_model_that_is_never_right_gives_a_usable_decision() -> None:
    probabilities = np.tile(np.array([[0.9, 0.1]], np.float32), (10, 1))
    decision = fit_decision(probabilities, np.ones(10, np.int64))
    assert decision.unknown_threshold == 0.0
    assert 1.0 < decision.temperature <= 4.0
