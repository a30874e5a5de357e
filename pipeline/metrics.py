"""Figures of merit of a classifier on labelled photos."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Z_95 = 1.959964
_CALIBRATION_BINS = 15
_RESAMPLES = 2000
# Resamples are drawn in blocks of about so many numbers: 32 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Of one class: share of its photos found, share of such answers that are right, their harmonic mean, photos."""

    recall: float
    precision: float
    f1: float
    n: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Percentile intervals from photos drawn again with replacement, as often as ``resamples`` (Efron 1979)."""

    accuracy: Interval
    macro_f1: Interval
    resamples: int


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of about the same confidence: ``low`` up to ``high``, their mean confidence, accuracy and how many."""

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of ``n``, with its 95 % Wilson interval."""

    share: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Scores:
    """How good answers are.

    Attributes:
        accuracy: top-1, a fraction.
        low, high: its 95 % confidence interval (Wilson).
        n: photos.
        expected_calibration_error: see the function.
        per_class: by class name.
        confusion: rows are truth, columns answers.
        macro_f1: mean F1 of the classes that occur as truth or as answer.
        bootstrap: intervals of accuracy and macro F1.
        reliability: see the function.
    """

    accuracy: float
    low: float
    high: float
    n: int
    expected_calibration_error: float
    per_class: dict[str, ClassScore]
    confusion: tuple[tuple[int, ...], ...]
    macro_f1: float
    bootstrap: Bootstrap
    reliability: tuple[ReliabilityBin, ...]


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
        macro_f1=macro_f1(confusion),
        bootstrap=bootstrap(confusion),
        reliability=reliability(probabilities, labels),
    )


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927); it holds for few photos and near 0 and 1."""
    share, z2 = successes / n, _Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def proportion(hits: NDArray[np.bool_]) -> Proportion | None:
    """The share of True in (n,) bool; None where n is 0."""
    if not len(hits):
        return None
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return Proportion(float(hits.mean()), low, high, len(hits))


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur.

    Args:
        confusion: (classes, classes) counts, rows are truth, columns answers. A class that is neither in the truth
            nor ever the answer does not count, one that was missed altogether counts as 0.
    """
    hits = confusion.diagonal()[None]
    return float(_macro_f1(hits, confusion.sum(axis=1)[None], confusion.sum(axis=0)[None])[0])


def bootstrap(confusion: NDArray[np.int64], seed: int = 0, resamples: int = _RESAMPLES) -> Bootstrap:
    """Bootstrap intervals of accuracy and macro F1.

    Drawing n photos with replacement is drawing the cells of the confusion matrix from a multinomial distribution,
    so that photos themselves are not needed.

    Args:
        confusion: (classes, classes) counts of at least one photo, rows are truth, columns answers.
        seed: of the resamples.
        resamples: how many.
    """
    truth, answer = np.nonzero(confusion)
    counts = confusion[truth, answer]
    n, random = int(counts.sum()), np.random.default_rng(seed)
    # (cells, classes) 0 or 1: sums a resample's cells up to photos and to answers of each class.
    classes = np.arange(len(confusion))
    of_truth, of_answer = ((axis[:, None] == classes).astype(np.float32) for axis in (truth, answer))
    of_hits = of_truth * (truth == answer)[:, None]
    accuracies, scores = [], []
    block = max(1, _BLOCK // max(len(counts), len(confusion)))
    for start in range(0, resamples, block):
        drawn = random.multinomial(n, counts / n, min(block, resamples - start)).astype(np.float32)
        hits = drawn @ of_hits
        accuracies.append(hits.sum(axis=1) / n)
        scores.append(_macro_f1(hits, drawn @ of_truth, drawn @ of_answer))
    return Bootstrap(_percentiles(np.concatenate(accuracies)), _percentiles(np.concatenate(scores)), resamples)


def expected_calibration_error(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean distance between confidence and accuracy over 15 equal bins of confidence (Guo et al. 2017)."""
    bins = reliability(probabilities, labels)
    return sum(abs(one.confidence - one.accuracy) * one.count for one in bins) / len(labels)


def reliability(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy over 15 equal bins of confidence (Guo et al. 2017); empty bins are left out.

    Args:
        probabilities: (n, classes) float32.
        labels: (n,) integers.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    return tuple(
        ReliabilityBin(
            low=int(index) / _CALIBRATION_BINS,
            high=(int(index) + 1) / _CALIBRATION_BINS,
            confidence=float(confidence[bins == index].mean(dtype=np.float64)),
            accuracy=float(right[bins == index].mean()),
            count=int((bins == index).sum()),
        )
        for index in np.unique(bins)
    )


def _macro_f1(hits: NDArray[Any], photos: NDArray[Any], answers: NDArray[Any]) -> NDArray[np.float64]:
    """(resamples,) from three (resamples, classes)."""
    occurring = photos + answers
    f1 = 2 * hits / np.maximum(occurring, 1)
    means: NDArray[np.float64] = f1.sum(axis=1) / (occurring > 0).sum(axis=1)
    return means


def _percentiles(values: NDArray[Any]) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(float(low), float(high))


def _class_score(confusion: NDArray[np.int64], label: int) -> ClassScore:
    hits, photos, answers = confusion[label, label], confusion[label].sum(), confusion[:, label].sum()
    return ClassScore(
        recall=float(hits / photos) if photos else 0.0,
        precision=float(hits / answers) if answers else 0.0,
        f1=float(2 * hits / (photos + answers)) if photos + answers else 0.0,
        n=int(photos),
    )
