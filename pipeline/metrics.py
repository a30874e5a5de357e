"""Figures of merit of a classifier on labelled photos."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z_95 = 1.959964
_CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Of one class: share of its photos found, share of such answers that are right, and how many photos."""

    recall: float
    precision: float
    n: int


@dataclass(frozen=True, slots=True)
class Scores:
    """How good answers are.

    Attributes:
        accuracy: top-1, a fraction.
        low, high: its 95 % confidence interval.
        n: photos.
        expected_calibration_error: see the function.
        per_class: by class name.
        confusion: rows are truth, columns answers.
    """

    accuracy: float
    low: float
    high: float
    n: int
    expected_calibration_error: float
    per_class: dict[str, ClassScore]
    confusion: tuple[tuple[int, ...], ...]


def score(probabilities: NDArray[np.float32], labels: NDArray[np.int64], classes: tuple[str, ...]) -> Scores:
    """Compute all figures.

    Args:
        probabilities: (n, classes) float32.
        labels: (n,) integers; n is at least 1.
        classes: names by label.
    """
    answers = probabilities.argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    correct = int(np.trace(confusion))
    low, high = wilson_interval(correct, len(labels))
    return Scores(
        accuracy=correct / len(labels),
        low=low,
        high=high,
        n=len(labels),
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        per_class={name: _class_score(confusion, label) for label, name in enumerate(classes)},
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927); it holds for few photos and near 0 and 1."""
    share, z2 = successes / n, _Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def expected_calibration_error(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean distance between confidence and accuracy over 15 equal bins of confidence (Guo et al. 2017)."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    distances = [
        abs(float(confidence[bins == index].mean() - right[bins == index].mean())) * float((bins == index).mean())
        for index in np.unique(bins)
    ]
    return float(sum(distances))


def _class_score(confusion: NDArray[np.int64], label: int) -> ClassScore:
    hits, photos, answers = confusion[label, label], confusion[label].sum(), confusion[:, label].sum()
    return ClassScore(
        recall=float(hits / photos) if photos else 0.0,
        precision=float(hits / answers) if answers else 0.0,
        n=int(photos),
    )
