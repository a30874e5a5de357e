"""The drawn world: what the demo trains on and what the virtual camera sees."""

from __future__ import annotations

import threading
import time
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from device.cameras.scene import SceneCamera
from device.errors import CameraError, DeviceError
from device.preprocess import decode
from device.scene import CLASSES, NOTHING, SIGNS, Film, draw_dataset, render, sample_view
from device.scene.signs import DECOYS, art, art_side
from device.scene.world import MAX_SIZE, MIN_SIZE

SIZE = (120, 160)
SMALL = {"width": 96, "height": 72}


def view_of(name: str, seed: int):
    return sample_view(name, np.random.default_rng(seed))


def test_the_classes_are_the_signs_and_nothing() -> None:
    assert len(SIGNS) >= 8
    assert set(CLASSES) == {*SIGNS, NOTHING}
    assert not set(SIGNS) & set(DECOYS)


@pytest.mark.parametrize("name", CLASSES)
def test_a_picture_depends_on_its_seed_only(name: str) -> None:
    picture = render(view_of(name, 1), SIZE)
    assert picture.shape == (*SIZE, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, render(view_of(name, 1), SIZE))
    assert np.abs(picture.astype(int) - render(view_of(name, 2), SIZE)).mean() > 5


def test_every_two_signs_and_decoys_look_different() -> None:
    side = art_side(90)
    pictures = {name: art(name, side).astype(int) for name in (*SIGNS, *DECOYS)}
    for one, other in combinations(pictures, 2):
        assert np.abs(pictures[one] - pictures[other]).mean() > 2, (one, other)


def test_the_sign_is_what_the_label_says_and_a_decoy_is_nothing() -> None:
    assert [view_of(name, 3).label for name in CLASSES] == list(CLASSES)
    arts = {view_of(NOTHING, seed).art for seed in range(80)}
    assert None in arts
    assert arts - {None} <= set(DECOYS)
    with pytest.raises(KeyError, match="no class 'spped_30'"):
        view_of("spped_30", 0)


def test_a_sign_covers_what_its_pose_says() -> None:
    for seed in range(20):
        pose = view_of("stop", seed).pose
        assert MIN_SIZE <= pose.size <= MAX_SIZE
        assert max(abs(pose.x), abs(pose.y)) <= 0.5 - 0.4 * pose.size


def test_a_dataset_is_folders_of_photos_that_decode(tmp_path: Path) -> None:
    folder = tmp_path / "signs"
    draw_dataset(folder, 2, seed=4, size=SIZE)
    photos = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    assert photos == sorted(f"{name}/{name}_000{number}.jpg" for name in CLASSES for number in (1, 2))
    assert all(decode(path.read_bytes()).shape == (*SIZE, 3) for path in folder.rglob("*.jpg"))
    assert len({path.read_bytes() for path in folder.rglob("*.jpg")}) == len(photos)


def test_a_larger_dataset_starts_with_the_smaller_one(tmp_path: Path) -> None:
    for number in (1, 2):
        draw_dataset(tmp_path / str(number), number, seed=4, size=SIZE)
    for photo in (tmp_path / "1").rglob("*.jpg"):
        same = tmp_path / "2" / photo.relative_to(tmp_path / "1")
        assert photo.read_bytes() == same.read_bytes()


def test_a_dataset_goes_to_an_empty_folder_only(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DeviceError, match="is not empty"):
        draw_dataset(tmp_path, 1, seed=0, size=SIZE)
    with pytest.raises(DeviceError, match="cannot be drawn there"):
        draw_dataset(tmp_path / "mine.txt", 1, seed=0, size=SIZE)
    with pytest.raises(DeviceError, match="0 photos per class"):
        draw_dataset(tmp_path / "new", 0, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_film_shows_every_sign_with_nothing_between() -> None:
    film = Film(seed=2, fps=5, size=(480, 640))
    shots = [film.shot(index) for index in range(400)]
    truths = [shot.truth for shot in shots]
    assert set(truths) == {*CLASSES, None}
    for before, after in pairwise(truths):
        # A sign is undecided on its way, never one class and then at once another.
        assert before == after or None in (before, after) or NOTHING in (before, after)
    assert all(shot.view.label == shot.truth for shot in shots if shot.truth in SIGNS)
    assert any(shot.truth == NOTHING and shot.view.art in DECOYS for shot in shots)


def test_a_film_moves_smoothly_and_can_be_skipped_through() -> None:
    film, skipped = Film(0, 25, (480, 640)), Film(0, 25, (480, 640))
    shots = [film.shot(index) for index in range(300)]
    assert [skipped.shot(index) for index in range(0, 300, 37)] == shots[::37]
    for before, after in pairwise(shots):
        if before.view.art == after.view.art is not None:
            assert abs(after.view.pose.x - before.view.pose.x) < 0.2
            assert after.view.pose.size <= before.view.pose.size * 1.3
            assert after.view.light == before.view.light


def test_another_seed_is_another_film() -> None:
    assert Film(0, 25, (480, 640)).shot(0) != Film(1, 25, (480, 640)).shot(0)


def test_not_live_every_frame_comes_and_is_the_same_again() -> None:
    def watch() -> list:
        with SceneCamera(seed=3, frames=12, live=False, **SMALL) as camera:
            assert not camera.live
            return list(iter(camera.read, None))

    frames = watch()
    assert [frame.index for frame in frames] == list(range(12))
    assert frames[0].pixels.shape == (72, 96, 3)
    assert frames[0].truth == NOTHING
    for one, again in zip(frames, watch(), strict=True):
        np.testing.assert_array_equal(one.pixels, again.pixels)
        assert one.truth == again.truth


def test_live_a_late_reader_misses_frames() -> None:
    with SceneCamera(fps=50, **SMALL) as camera:
        assert camera.live
        first = camera.read()
        time.sleep(0.2)
        second, third = camera.read(), camera.read()
    assert first is not None and second is not None and third is not None
    assert first.index == 0
    assert second.index >= 10
    assert third.index > second.index
    assert first.captured_monotonic < second.captured_monotonic < third.captured_monotonic


def test_live_the_film_ends_also_for_a_reader_who_missed_its_end() -> None:
    with SceneCamera(fps=50, frames=3, **SMALL) as camera:
        assert camera.read() is not None
        time.sleep(0.2)
        assert camera.read() is None


def test_closing_ends_a_read_that_waits() -> None:
    camera = SceneCamera(fps=0.01, **SMALL)
    assert camera.read() is not None
    answers: list[object] = []
    reader = threading.Thread(target=lambda: answers.append(camera.read()), daemon=True)
    reader.start()
    camera.close()
    camera.close()
    # The next frame is due in 100 seconds.
    reader.join(timeout=30)
    assert answers == [None]
    assert camera.read() is None


@pytest.mark.parametrize(
    ("option", "value"), [("fps", 0), ("frames", 0), ("width", 10), ("height", 9000), ("seed", -1)]
)
def test_an_option_out_of_range_is_named(option: str, value: int) -> None:
    with pytest.raises(CameraError, match=rf"scene: has {option}={value}; expected "):
        SceneCamera(**{option: value})
