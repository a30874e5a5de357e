"""What each damage does to pixels, and that the table is what the classifier answered."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.robustness import BATCHES, STRENGTHS, Damage, damaged, evenly, robustness_table

SIDE = 64


def _pictures(count: int = 4) -> NDArray[np.uint8]:
    """Fine enough to blur, not symmetric: (count, SIDE, SIDE, 3)."""
    random = np.random.default_rng(0)
    coarse = random.integers(30, 220, (count, 24, 24, 3)).astype(np.uint8)
    return np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for one in coarse])


@pytest.mark.parametrize("damage", list(Damage))
def test_every_strength_is_worse_than_the_one_before(damage: Damage) -> None:
    pictures = _pictures()
    results = [damaged(pictures, damage, strength) for strength in STRENGTHS[damage]]
    assert [(one.shape, one.dtype) for one in results] == [(pictures.shape, np.uint8)] * 5
    differences = [np.abs(one.astype(float) - pictures).mean() for one in results]
    assert differences[0] > 0
    assert differences == sorted(differences)


@pytest.mark.parametrize("damage", list(Damage))
def test_the_same_photo_is_damaged_the_same_way_and_stays_whole_itself(damage: Damage) -> None:
    pictures = _pictures()
    before = pictures.copy()
    np.testing.assert_array_equal(damaged(pictures, damage, 20), damaged(pictures, damage, 20))
    np.testing.assert_array_equal(pictures, before)


def test_noise_has_the_strength_that_is_stated() -> None:
    grey = np.full((1, 200, 200, 3), 128, np.uint8)
    assert damaged(grey, Damage.NOISE, 10).std() == pytest.approx(10, rel=0.02)


def test_a_stop_halves_the_light() -> None:
    grey = np.full((1, 8, 8, 3), 200, np.uint8)
    light = (damaged(grey, Damage.DARK, 1)[0, 0, 0] / 200.0) ** 2.2
    assert light == pytest.approx(0.5, abs=0.01)


def test_blur_grows_with_the_picture() -> None:
    for side in (50, 200):
        step = np.zeros((1, side, side, 3), np.uint8)
        step[:, :, side // 2 :] = 255
        row = damaged(step, Damage.BLUR, 3)[0, side // 2, :, 0]
        # A blurred step goes from 16 % to 84 % within two sigma.
        start, end = np.interp((0.1587 * 255, 0.8413 * 255), row, np.arange(side))
        assert end - start == pytest.approx(2 * 0.03 * side, rel=0.1)


def test_photos_are_turned_by_the_angle_either_way() -> None:
    bar = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    bar[:, SIDE // 2 - 1 : SIDE // 2 + 1, 8:-8] = 255
    angles = []
    for photo in damaged(bar, Damage.ROTATION, 30):
        y, x = np.nonzero(photo[16:-16, 16:-16, 0] > 128)
        angles.append(np.degrees(np.arctan(np.polyfit(x, y, 1)[0])))
    assert sorted(angles) == pytest.approx([-30, 30], abs=2)


def test_colours_stay_in_their_channels() -> None:
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    for damage in Damage:
        mean = damaged(red, damage, STRENGTHS[damage][0])[0].mean(axis=(0, 1))
        assert mean[0] > 10 * max(mean[1], mean[2]), damage


def _brightness(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Class 1 is a photo that is bright on average."""
    bright = (pixels.mean(axis=(1, 2, 3)) > 100).astype(np.float32)
    return np.stack([1 - bright, bright], axis=1)


def test_the_table_is_what_the_classifier_answers() -> None:
    pixels = np.concatenate([np.full((4, 16, 16, 3), 60, np.uint8), np.full((4, 16, 16, 3), 160, np.uint8)])
    labels = np.repeat([0, 1], 4)
    called: list[int] = []
    table = robustness_table(_brightness, pixels, labels, on_batch=lambda: called.append(1))
    assert (table.n, table.clean, len(called)) == (8, 1.0, BATCHES)
    found = {row.damage: [cell.accuracy for cell in row.cells] for row in table.rows}
    assert list(found) == list(Damage)
    # 160 falls under 100 between one stop (117) and two (85)
    assert found.pop(Damage.DARK) == [1.0, 1.0, 0.5, 0.5, 0.5]
    assert all(accuracies == [1.0] * 5 for accuracies in found.values())
    assert [cell.strength for cell in table.rows[0].cells] == list(STRENGTHS[Damage.BLUR])


def test_photos_are_taken_evenly_over_the_classes() -> None:
    labels = np.array([0] * 300 + [1] * 20 + [2] * 30)
    chosen = evenly(labels, 60, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [20, 20, 20]
    assert len(set(chosen.tolist())) == 60
    np.testing.assert_array_equal(chosen, evenly(labels, 60, seed=0))
    np.testing.assert_array_equal(evenly(labels, 1000, seed=0), np.arange(350))
    pixels = np.zeros((350, 8, 8, 3), np.uint8)
    assert robustness_table(_brightness, pixels, labels, most=60).n == 60
