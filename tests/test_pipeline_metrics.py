"""Figures of merit against published and hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.metrics import expected_calibration_error, score, wilson_interval


# Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_published(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_wilson_interval_is_symmetric_and_stays_within_zero_and_one(n: int) -> None:
    for successes in range(n + 1):
        low, high = wilson_interval(successes, n)
        assert 0.0 <= low <= successes / n + 1e-12
        assert successes / n - 1e-12 <= high <= 1.0
        assert wilson_interval(n - successes, n) == pytest.approx((1 - high, 1 - low))


def _binary(confidence: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Two classes; the answer is always class 0."""
    first = np.array(confidence, np.float32)
    return np.stack([first, 1 - first], axis=1), np.array([0 if hit else 1 for hit in right], np.int64)


def test_calibration_error_of_answers_that_are_as_sure_as_they_are_right() -> None:
    assert expected_calibration_error(*_binary([0.75] * 4, [True, True, True, False])) == pytest.approx(0.0, abs=1e-6)
    assert expected_calibration_error(*_binary([1.0] * 3, [True] * 3)) == pytest.approx(0.0, abs=1e-6)


def test_calibration_error_of_sure_and_wrong_answers_is_one() -> None:
    assert expected_calibration_error(*_binary([1.0] * 5, [False] * 5)) == pytest.approx(1.0)


def test_calibration_error_weighs_bins_by_their_photos() -> None:
    # three at 0.9 of which all are right: 0.1 off; one at 0.6 that is wrong: 0.6 off
    probabilities, labels = _binary([0.9, 0.9, 0.9, 0.6], [True, True, True, False])
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.75 * 0.1 + 0.25 * 0.6)


def test_calibration_error_does_not_let_bins_cancel_out() -> None:
    # over-confident in one bin and under-confident in another: on average right, and still badly calibrated
    probabilities, labels = _binary([0.6] * 10 + [0.9] * 10, [True] * 10 + [True] * 5 + [False] * 5)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.4)


def test_score() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2], np.int64)
    answers = [0, 0, 1, 1, 0, 0]
    scores = score(np.eye(3, dtype=np.float32)[answers], labels, ("a", "b", "c"))
    assert scores.confusion == ((2, 1, 0), (1, 1, 0), (1, 0, 0))
    assert scores.accuracy == pytest.approx(0.5)
    assert scores.n == 6
    assert (scores.low, scores.high) == wilson_interval(3, 6)
    assert scores.expected_calibration_error == pytest.approx(0.5)
    assert (scores.per_class["a"].recall, scores.per_class["a"].precision) == pytest.approx((2 / 3, 2 / 4))
    assert (scores.per_class["b"].recall, scores.per_class["b"].precision) == pytest.approx((1 / 2, 1 / 2))
    # of a class that was never the answer, precision is 0 and no division by it
    assert (scores.per_class["c"].recall, scores.per_class["c"].precision, scores.per_class["c"].n) == (0.0, 0.0, 1)


def test_score_of_a_split_that_lacks_a_class() -> None:
    scores = score(np.array([[0.2, 0.8]], np.float32), np.array([1], np.int64), ("a", "b"))
    assert scores.per_class["a"].n == 0
    assert scores.per_class["a"].recall == 0.0
    assert scores.accuracy == 1.0
