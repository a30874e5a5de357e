"""Where batches come from: order, views and mixing hang on seed and epoch alone, and nothing is left out or doubled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.augmentation.config import AugmentConfig, Preset, preset
from pipeline.backbones import Normalisation
from pipeline.examples import CachedViews, FreshViews, Source

Batches = list[tuple[NDArray[Any], NDArray[Any]]]
AS_THEY_ARE = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
VIEWS = 3


def _cached(photos: int, seed: int = 5, augmentation: AugmentConfig | None = None) -> CachedViews:
    """Activations that say which view (place 0) of which photo (place 1) they are; targets that say it too."""
    views = np.zeros((VIEWS, photos, 2), np.float16)
    views[..., 0], views[..., 1] = np.arange(VIEWS)[:, np.newaxis], np.arange(photos)
    return CachedViews(views, views.astype(np.float32) + 100, augmentation or AugmentConfig(), seed)


def _fresh(photos: int, seed: int = 5, choice: Preset = Preset.NONE) -> FreshViews:
    """Photos of one colour, which is their number."""
    pixels = np.broadcast_to(np.arange(photos, dtype=np.uint8)[:, None, None, None], (photos, 8, 8, 3)).copy()
    targets = np.arange(photos, dtype=np.float32)[:, np.newaxis]
    return FreshViews(pixels, targets, preset(choice), AS_THEY_ARE, seed)


def _epochs(source: Source, batch: int, steps: int, count: int, first: int = 0) -> list[Batches]:
    iterator = iter(source.dataset(batch, steps, first).as_numpy_iterator())
    return [[next(iterator) for _ in range(steps)] for _ in range(count)]


def _order(epoch: Batches) -> list[int]:
    """Of the photos."""
    return [int(number) for inputs, _ in epoch for number in inputs.reshape(len(inputs), -1)[:, -1]]


@pytest.mark.parametrize("source", [_cached(24), _fresh(24)], ids=["cached", "fresh"])
def test_every_photo_comes_once_in_an_epoch_and_in_another_order_in_the_next(source: Source) -> None:
    assert source.photos == 24
    orders = [_order(epoch) for epoch in _epochs(source, 8, 3, 4)]
    assert all(sorted(order) == list(range(24)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("source", [_cached(24), _fresh(24)], ids=["cached", "fresh"])
def test_targets_stay_with_their_photos(source: Source) -> None:
    [epoch] = _epochs(source, 8, 3, 1)
    for inputs, targets in epoch:
        flat = inputs.reshape(len(inputs), -1)
        np.testing.assert_array_equal(targets[:, -1] % 100, flat[:, -1])
        assert inputs.dtype == targets.dtype == np.float32


@pytest.mark.parametrize("choice", [Preset.NONE, Preset.STANDARD, Preset.STRONG])
def test_a_resumed_training_sees_what_the_uninterrupted_one_sees(choice: Preset) -> None:
    for make in (lambda: _cached(20, augmentation=preset(choice)), lambda: _fresh(20, choice=choice)):
        whole = _epochs(make(), 8, 2, 5)
        resumed = _epochs(make(), 8, 2, 2, first=3)
        for expected, found in zip(whole[3:], resumed, strict=True):
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_array_equal(one[0], other[0])
                np.testing.assert_array_equal(one[1], other[1])


def test_another_seed_gives_another_order() -> None:
    first, second = _epochs(_cached(24, 1), 8, 3, 1), _epochs(_cached(24, 2), 8, 3, 1)
    assert _order(first[0]) != _order(second[0])


def test_every_view_is_drawn_in_time_and_with_its_own_targets() -> None:
    seen = set()
    for epoch in _epochs(_cached(10), 5, 2, 30):
        for inputs, targets in epoch:
            np.testing.assert_array_equal(targets, inputs + 100)
            seen |= {(int(view), int(photo)) for view, photo in inputs}
    assert seen == {(view, photo) for view in range(VIEWS) for photo in range(10)}


@pytest.mark.parametrize("source", [_cached(3), _fresh(3)], ids=["cached", "fresh"])
def test_of_fewer_photos_than_a_batch_each_comes_as_often_as_any_other(source: Source) -> None:
    [first, second] = _epochs(source, 8, 3, 2)
    for epoch in (first, second):
        counts = np.bincount(_order(epoch), minlength=3)
        assert counts.tolist() == [8, 8, 8]


def test_the_rest_that_fills_no_batch_is_another_one_in_each_epoch() -> None:
    left_out = [set(range(10)) - set(_order(epoch)) for epoch in _epochs(_cached(10), 4, 2, 6)]
    assert all(len(rest) == 2 for rest in left_out)
    assert len(set.union(*left_out)) > 4


def test_a_fresh_view_of_a_photo_is_another_one_every_time() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (1, 16, 16, 3), np.uint8)
    source = FreshViews(pixels, np.ones((1, 1), np.float32), preset(Preset.LIGHT), AS_THEY_ARE, 3)
    pictures = [inputs[0] for epoch in _epochs(source, 1, 1, 6) for inputs, _ in epoch]
    assert len({picture.tobytes() for picture in pictures}) == 6


def test_photos_are_normalised_for_the_backbone() -> None:
    pixels = np.full((2, 8, 8, 3), (10, 20, 30), np.uint8)
    normalisation = Normalisation((1.0, 2.0, 3.0), (2.0, 2.0, 2.0), bgr=True)
    source = FreshViews(pixels, np.ones((2, 1), np.float32), AugmentConfig(), normalisation, 0)
    [[(inputs, _)]] = _epochs(source, 2, 1, 1)
    np.testing.assert_allclose(inputs[0, 0, 0], [(30 - 1) / 2, (20 - 2) / 2, (10 - 3) / 2])


def test_mixing_mixes_targets_as_it_mixes_photos() -> None:
    source = _fresh(24, choice=Preset.NONE)
    mixed = FreshViews(source._pixels, source._targets, AugmentConfig(mixup_alpha=1.0), AS_THEY_ARE, 5)
    [epoch] = _epochs(mixed, 8, 3, 1)
    for inputs, targets in epoch:
        np.testing.assert_allclose(inputs[:, 0, 0, 0], targets[:, 0], atol=1e-3)
        assert (targets[:, 0] % 1 != 0).any()


def test_a_teacher_is_asked_about_the_view_that_is_trained_on() -> None:
    asked = FreshViews(
        np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8),
        np.zeros((8, 1), np.float32),
        AugmentConfig(brightness=0.5),
        Normalisation((0.0, 0.0, 0.0), (2.0, 2.0, 2.0)),
        1,
        lambda pixels, targets: targets + pixels[:, 0, 0, :1],
    )
    [[(inputs, targets)]] = _epochs(asked, 8, 1, 1)
    np.testing.assert_allclose(targets[:, 0], 2 * inputs[:, 0, 0, 0], atol=1e-4)
