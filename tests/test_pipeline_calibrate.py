"""How sure the model may be: temperature and unknown threshold from constructed answers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.contract import Decision
from device.prediction import calibrate, decide
from pipeline.calibrate import fit_decision, measure_unknown
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


def _sure(confidences: list[float], classes: int = 3) -> NDArray[np.float32]:
    """Answers of class 0 with these probabilities, the rest spread evenly."""
    first = np.array(confidences, np.float32)
    rest = np.repeat(((1 - first) / (classes - 1))[:, None], classes - 1, axis=1)
    return np.concatenate([first[:, None], rest], axis=1).astype(np.float32)


def _report(
    known: NDArray[np.float32], labels: NDArray[np.int64], unknown: NDArray[np.float32] | None, decision: Decision
) -> list[tuple[float, int] | None]:
    report = measure_unknown(known, labels, decision, unknown)
    shares = (report.wrong_removed, report.right_lost, report.unknown_found)
    return [(share.share, share.n) if share else None for share in shares]


def test_photos_of_unknown_things_move_the_threshold_to_where_they_are_told_apart() -> None:
    random = np.random.default_rng(0)
    known = _sure(list(random.uniform(0.8, 1.0, 400)))
    labels = np.where(random.random(400) < 0.9, 0, 1)
    strange = _sure(list(random.uniform(0.4, 0.78, 100)))
    alone, together = fit_decision(known, labels), fit_decision(known, labels, strange)
    assert alone.temperature == together.temperature
    # above a half, which is the most without such photos
    assert together.unknown_threshold > alone.unknown_threshold == 0.5
    _, lost, found = _report(known, labels, strange, together)
    assert lost is not None and lost[0] == 0.0
    assert found == (1.0, 100)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_no_more_than_five_percent_of_right_answers_are_given_for_unknown_ones(overlap: float) -> None:
    random = np.random.default_rng(1)
    known, labels = _sure(list(random.uniform(0.5, 1.0, 2000))), np.zeros(2000, np.int64)
    strange = _sure(list(random.uniform(0.4, 0.9 + 0.1 * overlap, 500)))
    _, lost, found = _report(known, labels, strange, fit_decision(known, labels, strange))
    assert lost is not None and found is not None
    assert lost[0] <= 0.051  # rounding included
    assert found[0] > lost[0] - 0.01


def test_unknown_photos_that_look_surer_than_known_ones_lose_no_right_answer() -> None:
    known, labels = _sure([0.6] * 50 + [0.7] * 50), np.zeros(100, np.int64)
    decision = fit_decision(known, labels, _sure([0.99] * 20))
    assert decision.unknown_threshold == 0.0


def test_no_unknown_photos_are_as_none() -> None:
    probabilities, labels = _answers(sharpness=1.5)
    empty = np.empty((0, CLASSES), np.float32)
    assert fit_decision(probabilities, labels, empty) == fit_decision(probabilities, labels)


def test_what_the_threshold_removes_is_counted() -> None:
    known = _sure([0.9, 0.5, 0.9, 0.5, 0.5])
    labels = np.array([0, 0, 1, 1, 1])
    decision = Decision(temperature=1.0, unknown_threshold=0.6)
    assert _report(known, labels, _sure([0.4, 0.5, 0.95, 0.6]), decision) == [
        (pytest.approx(2 / 3), 3),
        (pytest.approx(1 / 2), 2),
        # at the threshold the board answers
        (pytest.approx(2 / 4), 4),
    ]


def test_the_report_agrees_with_what_the_board_says() -> None:
    probabilities, labels = _answers(sharpness=2.0, n=300)
    decision = fit_decision(probabilities, labels)
    answers = [decide(row, tuple("abcde"), decision).label for row in probabilities]
    right = probabilities.argmax(axis=1) == labels
    [removed, lost, found] = _report(probabilities, labels, probabilities, decision)
    unknown = np.array([answer is None for answer in answers])
    assert removed == (pytest.approx(unknown[~right].mean()), int((~right).sum()))
    assert lost == (pytest.approx(unknown[right].mean()), int(right.sum()))
    assert found == (pytest.approx(unknown.mean()), 300)


def test_where_there_is_nothing_to_count_the_report_says_so() -> None:
    assert _report(_sure([0.9]), np.array([0]), None, Decision()) == [None, (0.0, 1), None]
