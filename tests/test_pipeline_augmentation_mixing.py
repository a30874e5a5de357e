"""Mixup and cutmix: what is mixed, and that the labels say so."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.mixing import mix

MIXUP = AugmentConfig(mixup_alpha=0.4)
CUTMIX = AugmentConfig(cutmix_alpha=1.0)
BOTH = AugmentConfig(mixup_alpha=0.4, cutmix_alpha=1.0)
COUNT = 64


def _own_colour(*shape: int) -> NDArray[np.float32]:
    """Each example is filled with its place in the batch."""
    values = np.arange(COUNT, dtype=np.float32).reshape(-1, *[1] * len(shape))
    return np.broadcast_to(values, (COUNT, *shape)).copy()


def _mix(
    inputs: NDArray[np.generic], config: AugmentConfig, seed: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mixed inputs, and the share (B, B) of each example in each."""
    mixed, targets = mix(tf.constant(inputs), tf.eye(len(inputs)), seed, config)
    return mixed.numpy(), targets.numpy()


@pytest.mark.parametrize("config", [MIXUP, CUTMIX, BOTH])
def test_shares_add_to_one_and_are_of_two_examples_at_most(config: AugmentConfig) -> None:
    for number in range(8):
        _, shares = _mix(_own_colour(8, 8, 3), config, (3, number))
        np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
        assert (shares >= 0).all()
        assert ((shares > 0).sum(axis=1) <= 2).all()


@pytest.mark.parametrize("shape", [(5,), (4, 4, 2), (2, 3)])
def test_mixup_weighs_inputs_of_any_rank_as_it_weighs_labels(shape: tuple[int, ...]) -> None:
    inputs = _own_colour(*shape)
    mixed, shares = _mix(inputs, MIXUP)
    assert mixed.shape == inputs.shape
    expected = shares @ np.arange(COUNT)
    np.testing.assert_allclose(mixed, np.broadcast_to(expected.reshape(-1, *[1] * len(shape)), mixed.shape), rtol=1e-4)


def test_mixup_draws_beta_shares_and_keeps_the_larger_for_the_photo_itself() -> None:
    own = np.concatenate([np.diag(_mix(_own_colour(1), MIXUP, (1, number))[1]) for number in range(40)])
    assert (own >= 0.5).all()
    beta = np.random.default_rng(0).beta(0.4, 0.4, 100_000)
    assert own.mean() == pytest.approx(np.maximum(beta, 1 - beta).mean(), abs=0.015)
    assert own.std() == pytest.approx(np.maximum(beta, 1 - beta).std(), abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(224, 160), (32, 32), (7, 7)])
def test_cutmix_labels_are_the_areas_of_one_box(height: int, width: int) -> None:
    mixed, shares = _mix(_own_colour(height, width, 1), CUTMIX)
    foreign = mixed[..., 0] != np.arange(COUNT)[:, None, None]
    np.testing.assert_allclose(1 - np.diag(shares), foreign.mean(axis=(1, 2)), atol=1e-6)
    for example, box in enumerate(foreign):
        rows, columns = box.any(axis=1), box.any(axis=0)
        assert (box == rows[:, None] & columns[None]).all()
        assert len(np.unique(mixed[example][box])) <= 1
    assert 0.1 < foreign.mean() < 0.5


def test_cutmix_boxes_are_the_same_whatever_the_size_of_the_plane() -> None:
    large, small = (np.diag(_mix(_own_colour(side, side, 1), CUTMIX)[1]) for side in (224, 28))
    np.testing.assert_allclose(large, small, atol=0.08)


def test_with_both_a_batch_is_blended_or_cut() -> None:
    whole = []
    for number in range(24):
        mixed, _ = _mix(_own_colour(16, 16, 1), BOTH, (5, number))
        whole.append(set(np.unique(mixed)) <= set(range(COUNT)))
    assert 6 <= sum(whole) <= 18


def test_cutmix_leaves_pooled_features_as_they_are_and_none_leaves_everything() -> None:
    for inputs, config in ((_own_colour(12), CUTMIX), (_own_colour(4, 4, 3), AugmentConfig())):
        mixed, shares = _mix(inputs, config)
        np.testing.assert_array_equal(mixed, inputs)
        np.testing.assert_array_equal(shares, np.eye(COUNT))


@pytest.mark.parametrize("config", [MIXUP, CUTMIX])
def test_a_seed_repeats_the_pairs_and_nobody_is_paired_with_itself(config: AugmentConfig) -> None:
    inputs = _own_colour(8, 8, 1)
    first, shares = _mix(inputs, config, (1, 1))
    np.testing.assert_array_equal(_mix(inputs, config, (1, 1))[0], first)
    assert (_mix(inputs, config, (1, 2))[0] != first).any()
    assert (np.diag(shares) < 1).sum() > COUNT / 2


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
def test_a_graph_of_unknown_batch_size_takes_every_dtype_and_a_single_photo(dtype: type) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(dtype)
    data = tf.data.Dataset.from_tensor_slices((photos, np.eye(5, dtype=np.float32))).batch(4)
    batches = list(data.map(lambda x, y: mix(x, y, (1, 2), BOTH)).as_numpy_iterator())
    assert batches[0][0].dtype == (np.float32 if dtype is np.uint8 else dtype)
    np.testing.assert_allclose(batches[1][0], photos[4:], atol=0.3)  # alone in its batch
    np.testing.assert_allclose(batches[1][1], np.eye(5)[4:], atol=1e-6)
    assert np.isfinite(batches[0][0]).all()


def test_a_tiny_alpha_gives_no_nan() -> None:
    for number in range(10):
        mixed, shares = _mix(_own_colour(2), AugmentConfig(mixup_alpha=0.001), (0, number))
        assert np.isfinite(mixed).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
