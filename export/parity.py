"""Proof of a variant: the board's own engine on validation photos, against the float model's answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.contract import Measured, TensorSpec
from device.engines.factory import load_engine
from device.errors import EngineError
from export.recipe import Target
from pipeline.metrics import score


@dataclass(frozen=True, slots=True)
class Proof:
    """What a variant did.

    Attributes:
        measured: against the float model.
        probabilities: (n, classes) float32, its answers to the validation photos.
        input, output: the tensors as the engine reports them.
    """

    measured: Measured
    probabilities: NDArray[np.float32]
    input: TensorSpec
    output: TensorSpec


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target; without ``proof`` it could not be made or run, for the ``reason`` given."""

    target: Target
    model: bytes
    proof: Proof | None
    included: bool
    reason: str

    @property
    def measured(self) -> Measured | None:
        """The proof's figures."""
        return self.proof.measured if self.proof else None


def prove_variant(
    target: Target,
    model: bytes,
    photos: Iterable[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    reference: NDArray[np.float32],
    classes: tuple[str, ...],
) -> Proof:
    """Run a variant through the engine that the board uses and compare.

    Args:
        target: what the model is.
        model: the file's bytes.
        photos: n of (height, width, 3) uint8 RGB, validation photos.
        labels: (n,) integers.
        reference: (n, classes) float32, the float model's probabilities.
        classes: names by label.

    Raises:
        EngineError: the model does not load, does not take uint8, or answers with something that is no probability.
    """
    with load_engine(target.engine, model) as engine:
        if engine.input.dtype != "uint8" or engine.output.shape != (1, len(classes)):
            raise EngineError(f"takes {engine.input.dtype}, puts out {engine.output.shape}; expected uint8 and classes")
        answers = np.stack([engine.run(pixels) for pixels in photos])
        return Proof(measure(answers, labels, reference, classes), answers, engine.input, engine.output)


def measure(
    answers: NDArray[np.float32],
    labels: NDArray[np.int64],
    reference: NDArray[np.float32],
    classes: tuple[str, ...],
) -> Measured:
    """Compare (n, classes) float32 probabilities with the float model's."""
    own, float_score = score(answers, labels, classes), score(reference, labels, classes)
    difference = np.abs(answers - reference)
    return Measured(
        photos=own.n,
        accuracy=own.accuracy,
        accuracy_low=own.low,
        accuracy_high=own.high,
        drop_points=100.0 * (float_score.accuracy - own.accuracy),
        agreement=float((answers.argmax(axis=1) == reference.argmax(axis=1)).mean()),
        worst_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
    )


def judge(target: Target, model: bytes, proof: Proof, max_drop_points: float) -> Outcome:
    """Whether a variant may travel: its answers differ from photo to photo, and its accuracy is within the budget."""
    drop = proof.measured.drop_points
    if float(np.ptp(proof.probabilities, axis=0).max()) == 0.0:
        return Outcome(target, model, proof, included=False, reason="one and the same answer to every photo")
    if drop > max_drop_points:
        reason = f"accuracy drops by {drop:.2f} points, --max-drop allows {max_drop_points:.2f}"
        return Outcome(target, model, proof, included=False, reason=reason)
    return Outcome(target, model, proof, included=True, reason="")


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
