"""The proof's figures on constructed answers, and which photos become golden."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.contract import Decision, Measured
from export.parity import Reference, choose_golden, measure
from pipeline.metrics import wilson_interval

CLASSES = ("a", "b", "c")


def _answers(*rows: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


REFERENCE = _answers((0.8, 0.1, 0.1), (0.2, 0.7, 0.1), (0.1, 0.3, 0.6), (0.5, 0.3, 0.2))
LABELS = np.array([0, 1, 2, 0], np.int64)


def _measure(answers: NDArray[np.float32], reference: NDArray[np.float32] = REFERENCE) -> Measured:
    return measure(answers, Decision(), Reference(reference, Decision(), LABELS, CLASSES))


def test_the_same_answers() -> None:
    measured = _measure(REFERENCE)
    assert (measured.photos, measured.accuracy, measured.drop_points, measured.agreement) == (4, 1.0, 0.0, 1.0)
    assert (measured.worst_difference, measured.mean_difference) == (0.0, 0.0)
    assert (measured.accuracy_low, measured.accuracy_high) == wilson_interval(4, 4)


def test_one_wrong_answer_of_four_drops_25_points() -> None:
    answers = REFERENCE.copy()
    answers[1] = (0.6, 0.3, 0.1)
    measured = _measure(answers)
    assert measured.accuracy == 0.75
    assert measured.drop_points == pytest.approx(25.0)
    assert measured.worst_class_drop_points == pytest.approx(100.0)
    assert measured.agreement == 0.75
    assert measured.worst_difference == pytest.approx(0.4)
    assert measured.mean_difference == pytest.approx((0.4 + 0.4) / 12)


def test_a_variant_that_is_right_where_the_float_model_is_wrong_gains_and_disagrees() -> None:
    measured = _measure(REFERENCE, _answers(*REFERENCE[:3], (0.1, 0.8, 0.1)))
    assert measured.drop_points == pytest.approx(-25.0)
    assert measured.agreement == 0.75


def test_equal_accuracy_does_not_hide_disagreement() -> None:
    answers, reference = REFERENCE.copy(), REFERENCE.copy()
    answers[0], reference[1] = (0.1, 0.8, 0.1), (0.9, 0.05, 0.05)
    measured = _measure(answers, reference)
    assert measured.drop_points == 0.0
    assert measured.agreement == 0.5


def _sure(labels: list[int], certainty: list[float]) -> NDArray[np.float32]:
    """Answers whose probability of the true class is as given."""
    rows = np.empty((len(labels), 3), np.float32)
    for row, label, share in zip(rows, labels, certainty, strict=True):
        row[:] = (1 - share) / 2
        row[label] = share
    return rows


def test_golden_photos_are_the_surest_of_every_class_in_turn() -> None:
    labels = [0, 0, 0, 1, 1, 2]
    reference = _sure(labels, [0.7, 0.9, 0.8, 0.6, 0.95, 0.5])
    assert choose_golden(np.array(labels), reference, 5) == [1, 4, 5, 2, 3]


def test_there_are_no_more_golden_photos_than_photos() -> None:
    assert sorted(choose_golden(np.array([0, 1]), _sure([0, 1], [0.9, 0.9]), 8)) == [0, 1]


def test_more_classes_than_golden_photos() -> None:
    labels = list(range(3))
    assert choose_golden(np.array(labels), _sure(labels, [0.9, 0.8, 0.7]), 2) == [0, 1]


def test_a_wrong_answer_is_no_golden_photo_while_there_are_right_ones() -> None:
    labels = [0, 0, 0, 1, 1, 1]
    reference = _sure(labels, [0.9, 0.8, 0.7, 0.9, 0.2, 0.1])
    assert 4 not in choose_golden(np.array(labels), reference, 4)
