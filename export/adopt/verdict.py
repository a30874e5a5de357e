"""What is refused and what is warned of, once a foreign model has answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision, Measured
from device.prediction import calibrate
from export.adopt.errors import AdoptError
from export.adopt.interface import Interface, Surgery
from export.adopt.trials import Trials
from pipeline.metrics import Scores, expected_calibration_error, wilson_interval

# The surgery adds float operators: what they round is far below this.
_FLOAT_DIFFERENCE = 0.01
# Quantising the input may fall to the next step, as may a kernel; answers near a tie change with it.
_QUANTISED_AGREEMENT = 0.95
_QUANTISED_DISTANCE = 0.1
# Right this often and labels are surely in order: no need to look for a shift.
_PLAUSIBLE = 0.5


def check_parity(
    answers: NDArray[np.float32], reference: NDArray[np.float32], interface: Interface, surgery: Surgery
) -> None:
    """Refuse an adapted file that answers otherwise than the original.

    Args:
        answers: (n, classes) float32, of the adapted file.
        reference: (n, classes) float32, of the original.
        interface: of the original.
        surgery: what was added.

    Raises:
        AdoptError: it does; that is a fault of ours, or of a model that depends on more than its input.
    """
    quantised = interface.input.quantisation is not None or interface.output.quantisation is not None
    difference = np.abs(answers - reference)
    worst, agreement = float(difference.max()), float((answers.argmax(axis=1) == reference.argmax(axis=1)).mean())
    close = worst <= _FLOAT_DIFFERENCE
    if quantised and not close:
        # Summed over the classes: of a thousand most are 0 in both.
        distance = float(difference.sum(axis=1).mean())
        close = agreement >= _QUANTISED_AGREEMENT and distance <= _QUANTISED_DISTANCE
    if not close:
        raise AdoptError(
            f"with its preprocessing inside, the file answers otherwise than before: they agree on "
            f"{agreement:.1%} of {len(answers)} photos, worst difference {worst:.3f} (added: "
            f"{', '.join((*surgery.in_front, *surgery.behind)) or 'nothing'}); please report it with the model"
        )


def compare(
    answers: NDArray[np.float32],
    reference: NDArray[np.float32],
    labels: NDArray[np.int64],
    decision: Decision,
    held_out: NDArray[np.bool_],
) -> Measured:
    """The adapted file's figures, the original in the place of the float model.

    Args:
        answers: (n, classes) float32, of the adapted file.
        reference: (n, classes) float32, of the original.
        labels: (n,) int64.
        decision: fitted on the others than ``held_out``.
        held_out: (n,) bool, the photos that calibration is measured on.
    """
    right, right_before = (found.argmax(axis=1) == labels for found in (answers, reference))
    difference = np.abs(answers - reference)
    low, high = wilson_interval(int(right.sum()), len(right))
    drops = [100.0 * float(right_before[labels == one].mean() - right[labels == one].mean()) for one in set(labels)]
    error, error_before = (
        expected_calibration_error(calibrate(found, decision.temperature)[held_out], labels[held_out])
        for found in (answers, reference)
    )
    return Measured(
        photos=len(labels),
        accuracy=float(right.mean()),
        accuracy_low=low,
        accuracy_high=high,
        drop_points=100.0 * float(right_before.mean() - right.mean()),
        worst_class_drop_points=max(drops),
        agreement=float((answers.argmax(axis=1) == reference.argmax(axis=1)).mean()),
        worst_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        expected_calibration_error=error,
        calibration_drift=error - error_before,
    )


def check_useful(model: Path, answers: NDArray[np.float32], scores: Scores, trials: Trials) -> None:
    """Refuse a model that is no better than guessing.

    Raises:
        AdoptError: it answers every photo alike, or its accuracy cannot be told from chance.
    """
    tried = ", ".join(f"{trial.preprocess} {trial.accuracy:.0%}" for trial in trials.ranked())
    advice = f"check the order of --labels, and --preprocess (on {trials.right.shape[1]} photos: {tried})"
    if len(answers) > 1 and float(np.ptp(answers, axis=0).max()) == 0.0:
        raise AdoptError(f"{model}: one and the same answer to every photo; {advice}")
    chance = 1.0 / answers.shape[1]
    if scores.low <= chance:
        raise AdoptError(
            f"{model}: right on {scores.accuracy:.1%} of {scores.n} photos ({scores.low:.1%} to {scores.high:.1%}), "
            f"and guessing is right on {chance:.1%}: nothing is proved, no bundle was written; {advice}"
        )


def find_warnings(
    answers: NDArray[np.float32],
    labels: NDArray[np.int64],
    scores: Scores,
    trials: Trials,
    chosen: str,
) -> tuple[str, ...]:
    """What the user must look at, each a sentence with what to do."""
    found = []
    taken = trials.names.index(chosen)
    better = trials.clearly_better(taken)
    if better is not None:
        shares = trials.right.mean(axis=1)
        found.append(
            f"--preprocess={trials.names[better]} is right on {shares[better]:.0%} of {trials.right.shape[1]} photos, "
            f"{chosen} on {shares[taken]:.0%}: the model most likely wants the former"
        )
    elif scores.accuracy < _PLAUSIBLE:
        found.append(
            f"only {scores.accuracy:.1%} of the photos are answered rightly (guessing: {1 / answers.shape[1]:.1%}); "
            f"are these the model's labels, in its order?"
        )
        found += _shift(answers, labels, scores)
    return tuple(found)


def _shift(answers: NDArray[np.float32], labels: NDArray[np.int64], scores: Scores) -> list[str]:
    for shift, words in ((1, "one line too late"), (-1, "one line too early")):
        share = float((answers.argmax(axis=1) == labels - shift).mean())
        if share > max(2 * scores.accuracy, _PLAUSIBLE):
            return [f"{share:.0%} would be right if every label stood {words} in --labels: shift them by one line"]
    return []
