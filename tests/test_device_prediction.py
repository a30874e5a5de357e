"""From probabilities to an answer, or to "unknown"."""

from __future__ import annotations

import numpy as np
import pytest

from device.contract import Decision
from device.prediction import calibrate, decide

CLASSES = ("cat", "dog", "fox", "owl", "pig", "rat", "yak")
ANSWERS = np.array([0.02, 0.5, 0.2, 0.04, 0.1, 0.09, 0.05], np.float32)


def test_temperature_scaling_is_the_softmax_of_divided_logits() -> None:
    logits = np.array([[2.0, 0.5, -1.0], [0.0, 3.0, 0.1]])
    plain = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    cooled = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(axis=1, keepdims=True)
    assert calibrate(plain, 2.5) == pytest.approx(cooled, abs=1e-6)
    assert calibrate(plain[0], 2.5) == pytest.approx(cooled[0], abs=1e-6)


def test_temperature_one_changes_nothing() -> None:
    assert np.array_equal(calibrate(ANSWERS, 1.0), ANSWERS)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.5, 4.0, 20.0])
def test_calibration_keeps_the_order_and_the_sum(temperature: float) -> None:
    result = calibrate(ANSWERS, temperature)
    assert result.dtype == np.float32
    assert result.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(np.argsort(result), np.argsort(ANSWERS))
    assert (result.max() > ANSWERS.max()) == (temperature < 1)


def test_a_quantised_certainty_of_one_is_calibrated_to_less_than_certain() -> None:
    certain = np.array([1.0, 0.0, 0.0], np.float32)
    result = calibrate(certain, 2.0)
    assert np.isfinite(result).all()
    assert 0.8 < result[0] < 1.0
    assert result[1] == result[2] > 0


def test_the_most_probable_class_is_the_answer_with_five_in_order() -> None:
    answer = decide(ANSWERS, CLASSES, Decision())
    assert (answer.label, answer.probability) == ("dog", 0.5)
    assert [label for label, _ in answer.top] == ["dog", "fox", "pig", "rat", "yak"]
    assert [value for _, value in answer.top] == pytest.approx([0.5, 0.2, 0.1, 0.09, 0.05])


def test_two_classes_have_a_top_of_two() -> None:
    assert len(decide(np.array([0.3, 0.7], np.float32), ("bad", "good"), Decision()).top) == 2


def test_under_the_threshold_the_answer_is_unknown_but_the_guess_is_kept() -> None:
    answer = decide(ANSWERS, CLASSES, Decision(unknown_threshold=0.51))
    assert answer.label is None
    assert answer.probability == 0.5
    assert answer.top[0][0] == "dog"
    assert decide(ANSWERS, CLASSES, Decision(unknown_threshold=0.5)).label == "dog"


def test_the_threshold_is_compared_with_the_calibrated_probability() -> None:
    # 0.5 becomes about 0.24 at temperature 3.
    assert decide(ANSWERS, CLASSES, Decision(temperature=3.0, unknown_threshold=0.4)).label is None
    assert decide(ANSWERS, CLASSES, Decision(temperature=0.5, unknown_threshold=0.7)).label == "dog"
