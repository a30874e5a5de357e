"""From what a model wants and what a variant must take to the surgery that bridges the two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.adopt.errors import AdoptError
from export.adopt.interface import Entry, Interface, Layout, OutputKind, Surgery
from export.adopt.normalisation import takes_bytes
from pipeline.backbones.base import Normalisation

# A float softmax sums to one; a quantised one strays by half a step of 1/256 per class.
_FLOAT_TOLERANCE = 0.01


def plan_surgery(interface: Interface, normalisation: Normalisation, kind: OutputKind) -> Surgery:
    """What has to be added.

    Args:
        interface: of the model, its size known.
        normalisation: through ``normalisation.resolve``.
        kind: of its output.
    """
    taken = interface.input
    if takes_bytes(normalisation, taken):
        entry = Entry.SHIFTED if taken.dtype == "int8" else Entry.AS_THEY_ARE
    else:
        entry = Entry.FLOATS if taken.quantisation is None else Entry.QUANTISED
    mean, scale = np.array(normalisation.mean), np.array(normalisation.scale)
    return Surgery(
        entry=entry,
        multiply=_three(1.0 / scale),
        add=_three(0.0 - mean / scale),
        swap=normalisation.bgr,
        transpose=taken.layout is Layout.NCHW,
        flatten=not interface.output.flat,
        softmax=kind is OutputKind.LOGITS,
    )


def judge_output(answers: NDArray[np.float32], quantised: bool) -> OutputKind:
    """Tell probabilities from logits by the answers to real photos.

    Args:
        answers: (n, classes) float32, de-quantised, as the original gave them.
        quantised: the output is int8 or uint8.

    Raises:
        AdoptError: not finite, or in 0..1 without being a distribution (sigmoid: several classes may hold at once).
    """
    if not np.isfinite(answers).all():
        raise AdoptError(
            "the model answers NaN or infinity to real photos; is it damaged, or does it want other pixels "
            "(--preprocess)?"
        )
    sums = answers.sum(axis=1)
    slack = _FLOAT_TOLERANCE + (answers.shape[1] / 512 if quantised else 0.0)
    within = float(answers.min()) >= -_FLOAT_TOLERANCE and float(answers.max()) <= 1 + _FLOAT_TOLERANCE
    if within and float(np.abs(sums - 1).max()) <= slack:
        return OutputKind.PROBABILITIES
    if within:
        raise AdoptError(
            f"the model's answers lie in 0..1 and sum to {sums.min():.2f} up to {sums.max():.2f}: a sigmoid, where "
            f"several classes may hold at once. A bundle answers with one class: give a model that ends in a softmax "
            f"or in logits"
        )
    return OutputKind.LOGITS


def to_probabilities(answers: NDArray[np.float32], kind: OutputKind) -> NDArray[np.float32]:
    """(n, classes) float32 that sum to one, from the original's answers."""
    if kind is OutputKind.LOGITS:
        shifted = answers.astype(np.float64) - answers.max(axis=1, keepdims=True)
        numbers = np.exp(shifted)
    else:
        numbers = np.maximum(answers.astype(np.float64), 0.0)
    probabilities: NDArray[np.float32] = (numbers / numbers.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))
