"""Photos saved from a camera: named, whole, without near-duplicates, and fit for training."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from sink_inputs import NOON, frame, picture

from device.cameras import open_camera
from device.cameras.base import Frame
from device.collection import Collection
from device.contract import ColourOrder, PreprocessSpec
from device.errors import DeviceError


def test_what_is_saved_is_taken_by_train(tmp_path: Path) -> None:
    from pipeline.cache import PixelCache, cache_root
    from pipeline.dataset import check_trainable, list_folder
    from pipeline.ingest import ingest

    collection = Collection(tmp_path / "data")
    for seed in range(12):
        assert collection.save(frame(picture(seed), at=NOON + seed), ("größe", "weiß grün", "_unknown")[seed % 3])
    listing = list_folder(tmp_path / "data")
    assert (listing.classes, len(listing.files), len(listing.unknown)) == (("größe", "weiß grün"), 8, 4)
    assert not listing.ignored
    spec = PreprocessSpec(height=32, width=32)
    dataset = ingest(listing, PixelCache(cache_root(), spec), spec)
    check_trainable(dataset)
    assert (len(dataset.photos), dict(dataset.left_out)) == (8, {})


def test_a_picture_is_what_the_camera_saw_whatever_its_colour_order(tmp_path: Path) -> None:
    seen = picture(1)
    collection = Collection(tmp_path)
    path = collection.save(frame(seen), "rose")
    rgb = Frame(picture(2)[..., ::-1], ColourOrder.RGB, 0, NOON, 0.0, 1.0)
    other = collection.save(rgb, "rose")
    assert path is not None and other is not None
    for file, expected in ((path, seen), (other, picture(2))):
        assert np.abs(cv2.imread(str(file)).astype(int) - expected).mean() < 4
    assert path.name.startswith("20231114T221320.000Z-")


def test_near_duplicates_are_left_out_and_changes_are_not(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    still = cv2.resize(picture(3), (640, 480), interpolation=cv2.INTER_LINEAR).astype(float)

    def noisy(of: np.ndarray) -> Frame:
        return frame(np.clip(of + random.normal(0, 8, of.shape), 0, 255).astype(np.uint8))

    moved = still.copy()
    moved[200:260, 300:360] = 255 - moved[200:260, 300:360]
    collection = Collection(tmp_path)
    assert collection.save(noisy(still), "rose") is not None
    assert collection.save(noisy(still), "rose") is None
    assert collection.save(noisy(moved), "rose") is not None
    # What the same picture is in another class is for the person to say; and a new start remembers.
    assert collection.save(noisy(still), "tulip") is not None
    assert Collection(tmp_path).save(noisy(moved), "rose") is None
    assert Collection(tmp_path).counts() == {"rose": 2, "tulip": 1}


def test_a_walking_person_is_not_a_near_duplicate(shared_data: Path, tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    with open_camera(str(shared_data / "video" / "one-by-one-person-detection.mp4")) as film:
        frames = [film.read() for _ in range(200)]
    saved = [each for each in frames[::10] if each is not None and collection.save(each, "person") is not None]
    assert len(saved) > 1
    again = [collection.save(each, "person") for each in saved]
    assert again == [None] * len(saved)


def test_one_picture_in_two_classes_is_refused_for_train_would_refuse_all(tmp_path: Path) -> None:
    Collection(tmp_path).save(frame(picture(1)), "rose")
    with pytest.raises(DeviceError, match=r"already.*remove rose/2.*-[0-9a-f]{16}\.jpg"):
        Collection(tmp_path).save(frame(picture(1), at=NOON + 9), "tulip")


def test_a_picture_that_was_taken_back_can_be_saved_again_under_any_class(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    for label in ("rose", "rose", "tulip"):
        path = collection.save(frame(picture(1)), label)
        assert path is not None
        path.unlink()
    assert collection.counts() == {"rose": 0, "tulip": 0}


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("", "empty"),
        (" rose", "space"),
        ("a/b", "slash"),
        ("..", "dot"),
        (".hidden", "dot"),
        ("a\\b", "slash"),
        ("a\nb", "cannot be seen"),
        ("a\x1b[2Jb", "cannot be seen"),
        ("a\0", "cannot be seen"),
        ("\udcff", "cannot be seen"),
        ("_inbox", "underscore"),
        ("x" * 101, "longer than 100"),
    ],
)
def test_names_that_are_no_class_are_refused(label: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=says) as caught:
        Collection(tmp_path / "data").save(frame(picture(1)), label)
    assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


def test_names_from_a_mac_are_the_same_class(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    collection.save(frame(picture(1)), "gro\u0308ße")
    collection.save(frame(picture(2)), "gr\u00f6ße")
    assert collection.counts() == {"gr\u00f6ße": 2}


def test_counts_see_what_others_put_there(tmp_path: Path) -> None:
    assert Collection(tmp_path / "none").counts() == {}
    (tmp_path / "rose").mkdir()
    for name in ("a.PNG", "b.jpg", ".c.jpg", "notes.txt"):
        (tmp_path / "rose" / name).touch()
    (tmp_path / ".git").mkdir()
    assert Collection(tmp_path).counts() == {"rose": 2}


def test_damaged_pictures_of_ours_do_not_stop_a_new_start(tmp_path: Path) -> None:
    path = Collection(tmp_path).save(frame(picture(1)), "rose")
    assert path is not None
    path.write_bytes(b"\xff\xd8 no picture")
    assert Collection(tmp_path).save(frame(picture(2)), "rose") is not None


def test_many_threads_save_each_picture_once(tmp_path: Path) -> None:
    collection = Collection(tmp_path)

    def work() -> None:
        for seed in range(10):
            collection.save(frame(picture(seed), at=NOON + seed), "rose")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collection.counts() == {"rose": 10}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "rose").write_text("a file")
    with pytest.raises(DeviceError, match=r"rose: .*folder"):
        Collection(tmp_path).save(frame(picture(1)), "rose")
    with pytest.raises(DeviceError, match="quality is 0"):
        Collection(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["rose"]
