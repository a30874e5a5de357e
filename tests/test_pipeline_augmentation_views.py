"""Random views: the distribution of every change, and that a seed repeats them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.augmentation.config import AugmentConfig, Preset, preset
from pipeline.augmentation.views import augment

NOTHING = AugmentConfig()
STANDARD = preset(Preset.STANDARD)


def _photos(count: int = 8, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8)


def _grey(value: int, count: int = 200) -> NDArray[np.uint8]:
    return np.full((count, 8, 8, 3), value, np.uint8)


def _views(photos: NDArray[np.generic], config: AugmentConfig, seed: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
    views: NDArray[np.float32] = augment(tf.constant(photos), tf.constant(seed), config).numpy()
    return views


def test_preset_none_changes_nothing() -> None:
    photos = _photos()
    np.testing.assert_array_equal(_views(photos, preset(Preset.NONE)), photos)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("config", [preset(Preset.STRONG), AugmentConfig(brightness=0.9, contrast=0.9)])
def test_shape_dtype_and_range(dtype: type, config: AugmentConfig) -> None:
    views = _views(_photos(64, 32, 40).astype(dtype), config)
    assert views.shape == (64, 32, 40, 3)
    assert views.dtype == np.float32
    assert views.min() >= 0.0
    assert views.max() <= 255.0
    assert np.isfinite(views).all()


@pytest.mark.parametrize("choice", [Preset.LIGHT, Preset.STANDARD, Preset.STRONG])
def test_the_same_seed_gives_the_same_views_and_another_seed_others(choice: Preset) -> None:
    photos, config = _photos(), preset(choice)
    first = _views(photos, config, (3, 4))
    np.testing.assert_array_equal(_views(photos, config, (3, 4)), first)
    assert np.abs(_views(photos, config, (3, 5)) - first).mean() > 1.0
    assert np.abs(_views(photos, config, (4, 4)) - first).mean() > 1.0


def test_every_photo_draws_on_its_own() -> None:
    photos = np.repeat(_photos(1), 20, axis=0)
    views = _views(photos, STANDARD)
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
    gains = _views(_grey(100), replace(NOTHING, channel_gain=0.1)).mean(axis=(1, 2)) / 100
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
    moved = _centres(_views(_spot(32, 32), replace(NOTHING, translation=0.1)))
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


def _turned(photos: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each view of a photo that is dark on the left is dark on the right."""
    views = _views(photos, preset(Preset.STANDARD).without_flip(), (1, 2))
    return views[:, :, :8].mean(axis=(1, 2, 3)) > views[:, :, -8:].mean(axis=(1, 2, 3))


def test_without_flip_no_view_is_mirrored() -> None:
    photos = np.broadcast_to(np.linspace(0, 255, 32).astype(np.uint8)[None, None, :, None], (200, 32, 32, 3))
    assert not _turned(np.ascontiguousarray(photos)).any()


def _slopes(config: AugmentConfig, size: int = 64) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Extent and middle of the part of the photo in each view, both (2, n), x before y, as fractions of the side."""
    place = (np.arange(size, dtype=np.float32) + 0.5) / size
    photo = np.stack([*np.meshgrid(place * 255, place * 255), np.zeros((size, size))], axis=-1).astype(np.float32)
    views = _views(np.repeat(photo[None], 300, axis=0), config) / 255
    inner = slice(size // 4, 3 * size // 4)  # clear of a mirrored border
    extent = [np.diff(views[:, inner, inner, 0], axis=2), np.diff(views[:, inner, inner, 1], axis=1)]
    middle = views[:, inner, inner, :2].mean(axis=(1, 2)).T
    return np.stack([part.mean(axis=(1, 2)) * size for part in extent]), middle.astype(np.float64)


def test_a_random_resized_crop_is_a_part_of_its_area_aspect_and_the_photo() -> None:
    extent, middle = _slopes(replace(NOTHING, crop_area=0.25, crop_aspect=1.3))
    area, aspect = extent[0] * extent[1], extent[0] / extent[1]
    assert 0.2 < area.min() < 0.3
    assert 0.9 < area.max() <= 1.001
    assert 1 / 1.31 < aspect.min() < 0.85
    assert 1.18 < aspect.max() < 1.31
    # Uniform but for the largest, which are cut to the photo.
    assert area[area < 0.7].mean() == pytest.approx((0.25 + 0.7) / 2, abs=0.03)
    assert (middle - extent / 2 > -0.01).all()
    assert (middle + extent / 2 < 1.01).all()
    assert np.ptp(middle[0]) > 0.3


def test_hue_keeps_grey_and_luma_and_turns_the_chroma_within_its_range() -> None:
    config = replace(NOTHING, hue_degrees=30)
    np.testing.assert_allclose(_views(_grey(90), config), 90.0, atol=0.02)
    views = _views(np.tile(np.array([130, 100, 90], np.uint8), (300, 8, 8, 1)), config)[:, 0, 0]
    to_iq = np.array([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    chroma = (views @ to_iq.T) @ np.array([1, 1j]) / (np.array([130, 100, 90]) @ to_iq.T @ np.array([1, 1j]))
    np.testing.assert_allclose(np.abs(chroma), 1.0, atol=0.01)
    np.testing.assert_allclose(views @ [0.299, 0.587, 0.114], 130 * 0.299 + 100 * 0.587 + 90 * 0.114, atol=0.1)
    angle = np.degrees(np.angle(chroma))
    assert -30.1 < angle.min() < -28
    assert 28 < angle.max() < 30.1
    assert abs(angle.mean()) < 3


def test_blur_takes_high_frequencies_from_its_share_of_the_photos() -> None:
    photos = np.repeat(_photos(1, 40, 48), 200, axis=0)
    views = _views(photos, replace(NOTHING, blur_sigma=0.05, blur_probability=0.3))
    rough = np.abs(np.diff(views, axis=2)).mean(axis=(1, 2, 3)) / np.abs(np.diff(photos.astype(float), axis=2)).mean()
    changed = rough < 0.999
    assert 0.2 < changed.mean() < 0.4
    assert rough.min() < 0.25  # two pixels of sigma
    np.testing.assert_allclose(views[~changed], photos[~changed], atol=1.0)
    np.testing.assert_allclose(views.mean(axis=(1, 2, 3)), photos.mean(), atol=3.0)


def test_blur_is_a_gaussian_of_the_stated_sigma() -> None:
    spot = np.zeros((300, 65, 65, 3), np.float32)
    spot[:, 32, 32] = 255
    weight = _views(spot, replace(NOTHING, blur_sigma=0.05, blur_probability=1.0))[..., 0].astype(np.float64)
    x = np.arange(65) - 32
    sigma = np.sqrt((weight.sum(axis=1) * x**2).sum(axis=1) / weight.sum(axis=(1, 2)))
    np.testing.assert_allclose(weight.sum(axis=(1, 2)), 255, rtol=1e-4)
    assert sigma.max() == pytest.approx(0.05 * 65, rel=0.03)
    assert sigma.min() < 0.3
    assert sigma.mean() == pytest.approx(0.05 * 65 / 2, rel=0.15)


def test_noise_has_no_bias_and_the_stated_strength_and_share() -> None:
    difference = _views(
        np.full((300, 32, 32, 3), 128, np.uint8), replace(NOTHING, noise_sigma=20, noise_probability=0.5)
    )
    difference = difference - 128
    sigma = difference.std(axis=(1, 2, 3))
    assert 0.4 < (sigma > 0).mean() < 0.6
    assert abs(difference.mean()) < 0.1
    assert 18.5 < sigma.max() < 20.5
    assert sigma[sigma > 0].mean() == pytest.approx(10, abs=1.5)


def test_cutout_is_one_grey_square_that_may_stick_out() -> None:
    views = _views(np.zeros((300, 40, 60, 3), np.uint8), replace(NOTHING, cutout_side=0.5, cutout_probability=0.4))
    cut = (views == 127.5).all(axis=-1)
    assert ((views == 0) | (views == 127.5)).all()
    area = cut.sum(axis=(1, 2))
    assert 0.3 < (area > 0).mean() < 0.5
    assert area.max() == 20 * 20
    assert area[area > 0].min() < 20 * 20 / 2
    # A centre uniform along a side L leaves 1 - l / (4 L) of a length l inside, on average.
    expected = 400 * (1 - 20 / (4 * 40)) * (1 - 20 / (4 * 60))
    assert area[area > 0].mean() == pytest.approx(expected, rel=0.07)


def test_randaugment_leaves_one_in_fourteen_photos_alone() -> None:
    photos = np.repeat(_photos(1, 40, 40) // 2 + 60, 400, axis=0)  # rough and pale, so that every operation shows
    views = _views(photos, replace(NOTHING, randaugment_operations=1, randaugment_magnitude=20))
    same = np.isclose(views, photos, atol=0.51).all(axis=(1, 2, 3)).mean()
    assert same == pytest.approx(1 / 14, abs=0.04)


def test_randaugment_changes_more_with_magnitude_and_with_operations() -> None:
    photos = np.repeat(_soft(), 280, axis=0)
    weak = _views(photos, replace(NOTHING, randaugment_operations=1, randaugment_magnitude=4))
    strong = _views(photos, replace(NOTHING, randaugment_operations=1, randaugment_magnitude=20))
    twice = _views(photos, replace(NOTHING, randaugment_operations=2, randaugment_magnitude=20))
    assert np.abs(strong - photos).mean() > 1.5 * np.abs(weak - photos).mean()
    assert np.abs(twice - photos).mean() > 1.3 * np.abs(strong - photos).mean()


def _soft() -> NDArray[np.uint8]:
    """One photo of smooth colours, 60..200, (1, 48, 48, 3)."""
    y, x = np.mgrid[:48, :48] / 47
    waves = [130 + 70 * np.sin(3 * x + 2 * y), 130 + 70 * np.cos(4 * y), 130 + 70 * np.sin(5 * x * y)]
    return np.stack(waves, axis=-1)[None].astype(np.uint8)


def test_randaugment_has_every_operation() -> None:
    photo = _soft()
    views = _views(np.repeat(photo, 400, axis=0), replace(NOTHING, randaugment_operations=1, randaugment_magnitude=30))
    plain = photo[0].astype(np.float32)
    assert any(np.allclose(view, plain // 16 * 16, atol=0.6) for view in views), "posterise to four bits"
    assert any(np.allclose(view, 255 - plain, atol=0.6) for view in views), "solarise everything"
    low, high = plain.min(axis=(0, 1)), plain.max(axis=(0, 1))
    stretched = (plain - low) / (high - low) * 255
    assert any(np.allclose(view, stretched, atol=0.6) for view in views), "autocontrast"
    flat = [np.abs(np.histogram(view, bins=8, range=(0, 255))[0] / view.size - 1 / 8).max() < 0.03 for view in views]
    assert any(flat), "equalise"
    assert any(np.allclose(view, plain * 1.9, atol=0.6) for view in views.clip(0, 255)) or any(
        np.allclose(view, plain * 0.1, atol=0.6) for view in views
    ), "brightness"
    # A shear moves the lower and the upper edge against each other, a translation both alike: by 45 % of the side.
    moved = np.roll(plain, round(150 / 331 * 48), axis=1)
    shifted = [np.abs(view[:, 24:] - moved[:, 24:]).mean() < 2.5 for view in views]
    assert any(shifted), "translation"


@pytest.mark.parametrize("choice", list(Preset))
def test_it_runs_in_a_tf_data_pipeline_of_uneven_batches_and_keeps_static_shapes(choice: Preset) -> None:
    photos, config = _photos(10, 32, 36), preset(choice)
    data = tf.data.Dataset.from_tensor_slices(photos).batch(4)
    data = data.enumerate().map(lambda step, batch: augment(batch, tf.stack([7, step]), config))
    assert data.element_spec.shape[1:] == (32, 36, 3)
    batches = list(data.as_numpy_iterator())
    assert [len(batch) for batch in batches] == [4, 4, 2]
    np.testing.assert_allclose(batches[1], _views(photos[4:8], config, (7, 1)), atol=0.02)
