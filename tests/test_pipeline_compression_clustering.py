"""Clusters of weights: few values, the right ones, and zeros that stay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.compression.clustering import Seeding, cluster


def _kernel(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.2, (3, 3, 32, 48)).astype(np.float32)


def _error(kernel: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return float(((kernel - found) ** 2).mean() / kernel.var())


@pytest.mark.parametrize("seeding", Seeding)
def test_a_kernel_gets_no_more_values_than_asked_for(seeding: Seeding) -> None:
    kernel = _kernel()
    found = cluster(kernel, 16, seeding, 0, keep_zeros=False)
    assert (found.shape, found.dtype, len(np.unique(found))) == (kernel.shape, np.float32, 16)
    # Max's table for a Gaussian (1960): 16 levels leave 1.15 % of the variance.
    assert _error(kernel, found) < 0.0125


def test_every_weight_takes_the_nearest_value_and_every_value_is_its_weights_mean() -> None:
    kernel = _kernel()
    found = cluster(kernel, 8, Seeding.KMEANS_PLUS_PLUS, 3, keep_zeros=False)
    values = np.unique(found)
    nearest = values[np.abs(kernel.reshape(-1, 1) - values).argmin(axis=1)].reshape(kernel.shape)
    assert (nearest == found).mean() > 0.999
    for value in values[values > 0]:
        assert np.abs(kernel[np.abs(found) == value]).mean() == pytest.approx(value, abs=1e-4)


def test_values_come_in_pairs_so_that_every_channel_has_one_scale() -> None:
    values = np.unique(cluster(_kernel(), 16, Seeding.KMEANS_PLUS_PLUS, 0, keep_zeros=False))
    np.testing.assert_array_equal(values, -values[::-1])


def test_zeros_stay_zero_and_nothing_else_becomes_zero() -> None:
    kernel = _kernel() * (_kernel(1) > 0)
    found = cluster(kernel, 16, Seeding.LINEAR, 0, keep_zeros=True)
    np.testing.assert_array_equal(found == 0, kernel == 0)
    assert len(np.unique(found)) == 15


def test_values_that_are_few_already_are_left_alone() -> None:
    kernel = np.array([[0.5, -1.0, 0.5, -0.5]], np.float32)
    np.testing.assert_array_equal(cluster(kernel, 4, Seeding.DENSITY, 0, keep_zeros=False), kernel)


@pytest.mark.parametrize("seeding", Seeding)
def test_a_few_repeated_values_are_no_trouble(seeding: Seeding) -> None:
    kernel = np.repeat(np.arange(6, dtype=np.float32) ** 2, 50)
    found = cluster(kernel, 7, seeding, 0, keep_zeros=True)
    assert len(np.unique(found)) <= 4
    assert (found[kernel == 0] == 0).all()
    assert np.abs(found - kernel).max() <= 6.0


def test_the_same_seed_gives_the_same_clusters() -> None:
    first, again = (cluster(_kernel(), 16, Seeding.KMEANS_PLUS_PLUS, 5, keep_zeros=False) for _ in range(2))
    np.testing.assert_array_equal(first, again)
