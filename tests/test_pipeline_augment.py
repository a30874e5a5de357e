"""Random views: what they may change, and that a seed repeats them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.augment import AugmentConfig, augment

NOTHING = AugmentConfig(
    flip=False, rotation_degrees=0, zoom=1, aspect=1, shift=0, brightness=0, contrast=0, saturation=0, channel=0
)


def _photos(count: int = 8, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8)


def _grey(value: int, count: int = 200) -> NDArray[np.uint8]:
    return np.full((count, 8, 8, 3), value, np.uint8)


def _views(photos: NDArray[np.generic], config: AugmentConfig, seed: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
    views: NDArray[np.float32] = augment(tf.constant(photos), tf.constant(seed), config).numpy()
    return views


def test_a_config_without_changes_changes_nothing() -> None:
    photos = _photos()
    np.testing.assert_allclose(_views(photos, NOTHING), photos, atol=0.01)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shape_dtype_and_range(dtype: type) -> None:
    views = _views(_photos().astype(dtype), AugmentConfig(brightness=0.9, contrast=0.9))
    assert views.shape == (8, 24, 32, 3)
    assert views.dtype == np.float32
    assert views.min() >= 0.0
    assert views.max() <= 255.0
    assert np.isfinite(views).all()


def test_the_same_seed_gives_the_same_views_and_another_seed_others() -> None:
    photos = _photos()
    first = _views(photos, AugmentConfig(), (3, 4))
    np.testing.assert_array_equal(_views(photos, AugmentConfig(), (3, 4)), first)
    assert np.abs(_views(photos, AugmentConfig(), (3, 5)) - first).mean() > 1.0
    assert np.abs(_views(photos, AugmentConfig(), (4, 4)) - first).mean() > 1.0


def test_every_photo_draws_on_its_own() -> None:
    photos = np.repeat(_photos(1), 20, axis=0)
    views = _views(photos, AugmentConfig())
    assert len({view.tobytes() for view in views}) == 20


def test_flip_mirrors_about_half_of_the_photos_and_leaves_the_others() -> None:
    photos = _photos(64)
    views = _views(photos, replace(NOTHING, flip=True))
    kept = np.array([np.allclose(view, photo, atol=0.1) for view, photo in zip(views, photos, strict=True)])
    mirrored = np.array(
        [np.allclose(view, photo[:, ::-1], atol=0.1) for view, photo in zip(views, photos, strict=True)]
    )
    assert (kept ^ mirrored).all()
    assert 16 <= mirrored.sum() <= 48


def test_brightness_is_a_gain_within_its_range() -> None:
    gains = _views(_grey(100), replace(NOTHING, brightness=0.2)).mean(axis=(1, 2, 3)) / 100
    assert 0.8 - 1e-3 <= gains.min() < 0.85
    assert 1.15 < gains.max() <= 1.2 + 1e-3


def test_the_colour_of_the_light_is_a_gain_of_each_channel() -> None:
    gains = _views(_grey(100), replace(NOTHING, channel=0.1)).mean(axis=(1, 2)) / 100
    assert 0.9 - 1e-3 <= gains.min() < 0.92
    assert 1.08 < gains.max() <= 1.1 + 1e-3
    assert np.abs(gains[:, 0] - gains[:, 1]).max() > 0.1


def test_contrast_scales_about_the_mean_and_keeps_it() -> None:
    photos = np.repeat(_photos(1) // 2 + 64, 200, axis=0)
    views = _views(photos, replace(NOTHING, contrast=0.3))
    np.testing.assert_allclose(views.mean(axis=(1, 2)), photos.mean(axis=(1, 2)), atol=0.1)
    ratio = views.std(axis=(1, 2, 3)) / photos.std(axis=(1, 2, 3))
    assert 0.69 <= ratio.min() < 0.75
    assert 1.25 < ratio.max() <= 1.31


def test_saturation_leaves_grey_and_luma_as_they_are() -> None:
    config = replace(NOTHING, saturation=0.5)
    np.testing.assert_allclose(_views(_grey(90), config), 90.0, atol=0.01)
    photos = np.tile(np.array([120, 90, 60], np.uint8), (200, 8, 8, 1))
    views = _views(photos, config)
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(views @ luma, photos @ luma, atol=0.1)
    spread = np.ptp(views, axis=-1)[:, 0, 0] / 60
    assert 0.5 - 1e-3 <= spread.min() < 0.6
    assert 1.4 < spread.max() <= 1.5 + 1e-3


def _spot(column: float, row: float, count: int = 200) -> NDArray[np.float32]:
    """A soft spot on black, (count, 65, 65, 3)."""
    y, x = np.mgrid[:65, :65]
    spot = 255 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8)
    return np.repeat(np.repeat(spot[None, :, :, None], 3, axis=3), count, axis=0).astype(np.float32)


def _centres(views: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 2) of x and y, relative to the middle."""
    y, x = np.mgrid[:65, :65] - 32
    weight = views[..., 0].astype(np.float64)
    total = weight.sum(axis=(1, 2))
    return np.stack([(weight * x).sum(axis=(1, 2)) / total, (weight * y).sum(axis=(1, 2)) / total], axis=1)


def test_shift_moves_within_its_range_in_both_directions() -> None:
    moved = _centres(_views(_spot(32, 32), replace(NOTHING, shift=0.1)))
    assert np.abs(moved).max() <= 6.5 + 0.05
    assert (moved.min(axis=0) < -5.5).all()
    assert (moved.max(axis=0) > 5.5).all()


def test_rotation_turns_within_its_range_about_the_middle() -> None:
    centres = _centres(_views(_spot(52, 32), replace(NOTHING, rotation_degrees=30)))
    angles = np.degrees(np.arctan2(centres[:, 1], centres[:, 0]))
    np.testing.assert_allclose(np.hypot(*centres.T), 20, atol=0.1)
    assert np.abs(angles).max() <= 30.1
    assert angles.min() < -27
    assert angles.max() > 27


def test_zoom_makes_things_larger_and_smaller_by_its_factor() -> None:
    distance = _centres(_views(_spot(47, 32), replace(NOTHING, zoom=1.25)))[:, 0] / 15
    assert 1 / 1.25 - 0.01 <= distance.min() < 0.84
    assert 1.2 < distance.max() <= 1.25 + 0.01


def test_aspect_stretches_one_side_against_the_other() -> None:
    centres = _centres(_views(_spot(44, 44), replace(NOTHING, aspect=1.2))) / 12
    ratio = centres[:, 0] / centres[:, 1]
    assert 1 / 1.2 - 0.01 <= ratio.min() < 0.87
    assert 1.15 < ratio.max() <= 1.2 + 0.01
    np.testing.assert_allclose(centres[:, 0] * centres[:, 1], 1.0, atol=0.02)
