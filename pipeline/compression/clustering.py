"""Weights that share few values: k-means in one dimension. Imports no TensorFlow.

Values come in pairs of both signs. Where every channel of a kernel has the same largest weight, each then gets the same
scale in int8, and a file holds as many different bytes as there are values: that is what makes it compress.

tfmot seeds centroids as well, but leaves them where they were seeded and lets the training move them; Lloyd's
algorithm puts them where the error is least before any training, in a second for millions of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 60
# More weights do not move a quantile or a seed.
_SEEDED_FROM = 20_000


class Seeding(Enum):
    """Where centroids begin: chosen far apart by chance (Arthur and Vassilvitskii 2007), at equal shares of the
    weights, or at equal distances from the smallest to the largest.
    """

    KMEANS_PLUS_PLUS = "k-means++"
    DENSITY = "density"
    LINEAR = "linear"


def cluster(
    kernel: NDArray[np.float32], clusters: int, seeding: Seeding, seed: int, keep_zeros: bool
) -> NDArray[np.float32]:
    """The kernel with every weight replaced by the mean magnitude of its cluster, with its own sign.

    Args:
        kernel: of any shape.
        clusters: different values in the result, at most: half as many magnitudes.
        seeding: of the centroids.
        seed: of chance.
        keep_zeros: zeros are a cluster of their own and stay exactly zero.
    """
    chosen = kernel != 0 if keep_zeros else np.ones(kernel.shape, bool)
    signs, values = np.where(kernel[chosen] < 0, -1.0, 1.0), np.abs(kernel[chosen]).astype(np.float64)
    count = (clusters - 1 if keep_zeros and not chosen.all() else clusters) // 2
    result = np.zeros(kernel.shape, np.float32)
    if len(np.unique(values)) <= count:
        result[chosen] = signs * values
    else:
        centroids = _lloyd(np.sort(values), _SEEDS[seeding](values, count, np.random.default_rng(seed)))
        result[chosen] = signs * centroids[np.searchsorted(_borders(centroids), values)]
    return result


def _borders(centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    return (centroids[1:] + centroids[:-1]) / 2


def _lloyd(ordered: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """In one dimension clusters are intervals, so that sums of each come from one cumulative sum."""
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = np.sort(centroids)
    for _ in range(_ROUNDS):
        ends = np.searchsorted(ordered, _borders(centroids))
        edges = np.concatenate([[0], ends, [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = np.sort(moved)
    return centroids


def _seed_far_apart(values: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    sample = random.choice(values, min(len(values), _SEEDED_FROM), replace=False)
    centroids = [random.choice(sample)]
    distance = np.full(len(sample), np.inf)
    while len(centroids) < count:
        distance = np.minimum(distance, (sample - centroids[-1]) ** 2)
        total = distance.sum()
        if total == 0:
            break
        centroids.append(random.choice(sample, p=distance / total))
    return np.array(centroids)


def _seed_by_density(values: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    return np.unique(np.quantile(values, (np.arange(count) + 0.5) / count))


def _seed_evenly(values: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    return np.linspace(values.min(), values.max(), count)


_SEEDS: dict[Seeding, Callable[[NDArray[np.float64], int, np.random.Generator], NDArray[np.float64]]] = {
    Seeding.KMEANS_PLUS_PLUS: _seed_far_apart,
    Seeding.DENSITY: _seed_by_density,
    Seeding.LINEAR: _seed_evenly,
}
