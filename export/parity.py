"""Proof of a variant: the board's own engine on validation photos, against the float model's answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision, Measured, TensorSpec
from device.engines import Engine
from device.engines.factory import load_engine
from device.errors import EngineError
from device.prediction import calibrate
from export.recipe import Target
from pipeline.calibrate import fit_decision
from pipeline.metrics import Scores, score
from pipeline.run import ExportPhotos


@dataclass(frozen=True, slots=True)
class Proof:
    """What a variant did.

    Attributes:
        measured: against the float model.
        decision: temperature and unknown threshold, fitted to this variant's answers.
        probabilities: (n, classes) float32, its answers to the validation photos, not calibrated.
        input, output: the tensors as the engine reports them.
    """

    measured: Measured
    decision: Decision
    probabilities: NDArray[np.float32]
    input: TensorSpec
    output: TensorSpec


# No slots: the score is kept, for its bootstrap is drawn anew each time and every variant asks for it.
@dataclass(frozen=True)
class Reference:
    """What variants are compared with.

    Attributes:
        probabilities: (n, classes) float32, the float model's on the validation photos, not calibrated.
        decision: of the Run.
        labels: (n,) integers.
        classes: names by label.
    """

    probabilities: NDArray[np.float32]
    decision: Decision
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @cached_property
    def score(self) -> Scores:
        """Of the float model, calibrated."""
        return score(calibrate(self.probabilities, self.decision.temperature), self.labels, self.classes)


def prove_variant(
    target: Target,
    model: bytes,
    photos: ExportPhotos,
    reference: Reference,
    validation: Iterable[NDArray[np.uint8]] | None = None,
) -> Proof:
    """Run a variant through the engine that the board uses and compare.

    Args:
        target: what the model is.
        model: the file's bytes.
        photos: of the Run.
        reference: the float model's answers to the validation photos.
        validation: those photos, where a display counts them.

    Raises:
        EngineError: the model does not load, does not take uint8, or answers with something that is no probability.
    """
    with load_engine(target.engine, model) as engine:
        _check_interface(engine, photos.validation.shape[1:], len(reference.classes))
        answers = np.stack([engine.run(pixels) for pixels in (photos.validation if validation is None else validation)])
        unknown = np.stack([engine.run(pixels) for pixels in photos.unknown]) if len(photos.unknown) else None
        decision = fit_decision(answers, reference.labels, unknown)
        return Proof(measure(answers, decision, reference), decision, answers, engine.input, engine.output)


def _check_interface(engine: Engine, shape: tuple[int, ...], classes: int) -> None:
    expected = ((1, *shape), "uint8", (1, classes))
    found = (engine.input.shape, engine.input.dtype, engine.output.shape)
    if found != expected:
        raise EngineError(
            f"takes {found[0]} {found[1]} and puts out {found[2]}; "
            f"expected {expected[0]} {expected[1]} and {expected[2]}"
        )


def measure(answers: NDArray[np.float32], decision: Decision, reference: Reference) -> Measured:
    """Compare (n, classes) float32 probabilities with the float model's.

    Args:
        answers: of the variant, not calibrated.
        decision: fitted to them.
        reference: the float model's.
    """
    own = score(calibrate(answers, decision.temperature), reference.labels, reference.classes)
    exact = reference.score
    difference = np.abs(answers - reference.probabilities)
    return Measured(
        photos=own.n,
        accuracy=own.accuracy,
        accuracy_low=own.low,
        accuracy_high=own.high,
        drop_points=100.0 * (exact.accuracy - own.accuracy),
        worst_class_drop_points=worst_class(own, exact).points,
        agreement=float((answers.argmax(axis=1) == reference.probabilities.argmax(axis=1)).mean()),
        worst_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        expected_calibration_error=own.expected_calibration_error,
        calibration_drift=own.expected_calibration_error - exact.expected_calibration_error,
    )


@dataclass(frozen=True, slots=True)
class ClassDrop:
    """The class that lost the largest share of its right answers: in points of its recall, and in photos."""

    name: str
    points: float
    photos: int


def worst_class(own: Scores, exact: Scores) -> ClassDrop:
    """What an average can hide.

    Args:
        own: of the variant.
        exact: of the float model, on the same photos.
    """
    drops = [
        ClassDrop(name, points := 100.0 * (found.recall - own.per_class[name].recall), round(points * found.n / 100))
        for name, found in exact.per_class.items()
        if found.n
    ]
    return max(drops, key=lambda drop: drop.points)


def choose_golden(labels: NDArray[np.int64], reference: NDArray[np.float32], count: int) -> list[int]:
    """Photos for the golden inputs: of every class in turn the one that the float model is right and surest about.

    Sure answers stand far from a tie, so a rounding difference on a board cannot flip them. Photos that it gets wrong
    come last.

    Returns:
        indices, at most ``count``.
    """
    wrong = reference.argmax(axis=1) != labels
    doubt = 1.0 - reference[np.arange(len(labels)), labels]
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members[np.argsort(doubt[members], kind="stable")]] = np.arange(len(members))
    return [int(index) for index in np.lexsort((labels, rank, wrong))[:count]]
