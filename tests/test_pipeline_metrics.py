"""Figures of merit against published and hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.metrics import (
    bootstrap,
    expected_calibration_error,
    macro_f1,
    proportion,
    reliability,
    score,
    wilson_interval,
)


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


CONFUSION = np.array([[8, 2, 0], [1, 6, 1], [0, 0, 0]], np.int64)


def test_f1_of_a_class_and_their_mean() -> None:
    labels, answers = np.array([0, 0, 0, 1, 1, 2]), [0, 0, 1, 1, 0, 0]
    scores = score(np.eye(3, dtype=np.float32)[answers], labels, ("a", "b", "c"))
    # 2 TP / (2 TP + FP + FN), by hand
    assert [scores.per_class[name].f1 for name in "abc"] == pytest.approx([4 / 7, 1 / 2, 0.0])
    assert scores.macro_f1 == pytest.approx((4 / 7 + 1 / 2) / 3)


def test_macro_f1_counts_a_class_that_is_only_answered_and_leaves_out_one_that_never_occurs() -> None:
    assert macro_f1(CONFUSION) == pytest.approx((16 / 19 + 12 / 16 + 0.0) / 3)
    without = np.zeros((4, 4), np.int64)
    without[:2, :2] = [[3, 0], [0, 2]]
    assert macro_f1(without) == pytest.approx(1.0)


def test_bootstrap_is_that_of_drawing_photos_again() -> None:
    truth, answer = (np.repeat(axis, CONFUSION.ravel()) for axis in np.indices(CONFUSION.shape).reshape(2, -1))
    random, accuracies, f1 = np.random.default_rng(1), [], []
    for _ in range(4000):
        drawn = random.integers(0, len(truth), len(truth))
        confusion = np.zeros_like(CONFUSION)
        np.add.at(confusion, (truth[drawn], answer[drawn]), 1)
        accuracies.append(np.trace(confusion) / len(truth))
        f1.append(macro_f1(confusion))
    found = bootstrap(CONFUSION, resamples=4000)
    # accuracy moves in steps of a photo, 1 of 18
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx(np.percentile(accuracies, (2.5, 97.5)), abs=0.056)
    assert (found.macro_f1.low, found.macro_f1.high) == pytest.approx(np.percentile(f1, (2.5, 97.5)), abs=0.03)


def test_bootstrap_is_seeded_and_narrows_with_more_photos() -> None:
    assert bootstrap(CONFUSION) == bootstrap(CONFUSION)
    assert bootstrap(CONFUSION).resamples == 2000
    few, many = (bootstrap(CONFUSION * times).macro_f1 for times in (1, 100))
    assert few.high - few.low > 5 * (many.high - many.low) > 0
    assert many.low < macro_f1(CONFUSION) < many.high


def test_bootstrap_of_many_classes_and_photos_is_drawn_in_blocks_and_stays_right() -> None:
    classes = 80
    confusion = np.full((classes, classes), 1, np.int64) + 150 * np.eye(classes, dtype=np.int64)
    found, share = bootstrap(confusion, resamples=1000).accuracy, 151 / (151 + classes - 1)
    error = 1.96 * np.sqrt(share * (1 - share) / confusion.sum())
    assert (found.low, found.high) == pytest.approx((share - error, share + error), abs=error / 3)


def test_bootstrap_of_answers_that_are_all_right_has_no_width() -> None:
    found = bootstrap(np.diag([4, 5]))
    assert (found.accuracy.low, found.macro_f1.low, found.macro_f1.high) == (1.0, 1.0, 1.0)


def test_reliability_bins_hold_the_photos_of_their_confidence() -> None:
    probabilities, labels = _binary([0.9, 0.92, 0.61, 1.0], [True, False, True, True])
    bins = reliability(probabilities, labels)
    assert [one.count for one in bins] == [1, 2, 1]
    assert [(one.low, one.high) for one in bins] == [(9 / 15, 10 / 15), (13 / 15, 14 / 15), (14 / 15, 1.0)]
    assert [one.confidence for one in bins] == pytest.approx([0.61, 0.91, 1.0])
    assert [one.accuracy for one in bins] == pytest.approx([1.0, 0.5, 1.0])


def test_a_proportion_of_nothing_is_none() -> None:
    assert proportion(np.array([], bool)) is None
    found = proportion(np.array([True, False, False, False]))
    assert found is not None
    assert (found.share, found.n, (found.low, found.high)) == (0.25, 4, wilson_interval(1, 4))
