"""Photos of no class: found beside the classes, in no split, half to fit the threshold and half to measure it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from device.contract import PreprocessSpec
from pipeline.cache import PixelCache
from pipeline.dataset import UNKNOWN_LABEL, Dataset, Photo, check_trainable, list_folder
from pipeline.errors import DatasetError
from pipeline.ingest import ingest
from pipeline.split import assign, assign_unknown, make_rule

MakeFolder = Callable[..., Path]
SPEC = PreprocessSpec(height=16, width=16)


def _ingest(root: Path, tmp_path: Path) -> Dataset:
    return ingest(list_folder(root), PixelCache(tmp_path / "cache", SPEC), SPEC)


def _photos(count: int, first: int = 0) -> tuple[Photo, ...]:
    names = [f"{number}" for number in range(first, first + count)]
    return tuple(
        Photo(Path(name), UNKNOWN_LABEL, hashlib.sha256(name.encode()).hexdigest(), row, None)
        for row, name in enumerate(names)
    )


def test_the_unknown_folder_is_no_class(make_folder: MakeFolder) -> None:
    listing = list_folder(make_folder({"cat": 2, "dog": 3, "_unknown": 4}))
    assert listing.classes == ("cat", "dog")
    assert [file.label for file in listing.files] == [0, 0, 1, 1, 1]
    assert [file.path.parent.name for file in listing.unknown] == ["_unknown"] * 4
    assert {file.label for file in listing.unknown} == {UNKNOWN_LABEL}


def test_other_names_with_an_underscore_are_classes(make_folder: MakeFolder) -> None:
    listing = list_folder(make_folder({"_other": 2, "_Unknown": 2, "unknown": 2, "_unknown_things": 2}))
    assert listing.classes == ("_Unknown", "_other", "_unknown_things", "unknown")
    assert listing.unknown == ()


def test_files_in_it_that_are_no_photos_are_reported(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 2, "dog": 2, "_unknown": 1})
    (root / "_unknown" / "notes.txt").write_text("no photo")
    assert "not a photo by its name" in list_folder(root).ignored["_unknown/notes.txt"]


def test_it_lies_beside_ready_made_splits(make_folder: MakeFolder, tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 3)):
        make_folder({"cat": count, "dog": count + 2}, f"photos/{split}")
    root = make_folder({"_unknown": 5})
    dataset = _ingest(root, tmp_path)
    assert dataset.ready_made
    assert len(dataset.unknown) == 5
    assert dataset.counts() == {"cat": 7, "dog": 11}


def test_inside_a_split_it_is_refused_with_its_right_place(make_folder: MakeFolder) -> None:
    for split in ("train", "test"):
        make_folder({"cat": 2, "dog": 2}, f"photos/{split}")
    root = make_folder({"_unknown": 1}, "photos/train").parent
    with pytest.raises(DatasetError, match=r"train/_unknown: photos of no class belong in .*photos/_unknown; move"):
        list_folder(root)


def test_they_are_decoded_and_counted_in_no_class_and_no_split(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"cat": 10, "dog": 10, "_unknown": 6})
    (root / "_unknown" / "broken.jpg").write_bytes(b"")
    dataset = _ingest(root, tmp_path)
    assert dataset.counts() == {"cat": 10, "dog": 10}
    assert "0 bytes" in dataset.left_out["_unknown/broken.jpg"]
    check_trainable(dataset)
    splits = assign(dataset, make_rule(dataset, seed=0))
    assert sum(len(photos) for photos in splits.values()) == 20
    pixels = PixelCache(tmp_path / "cache", SPEC).pixels()
    assert pixels[[photo.row for photo in dataset.unknown]].shape == (6, 16, 16, 3)
    assert len({photo.row for photo in (*dataset.photos, *dataset.unknown)}) == 26


def test_a_copy_among_them_is_left_out(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"cat": 3, "dog": 3, "_unknown": 2})
    shutil.copy(root / "_unknown" / "000.png", root / "_unknown" / "again.png")
    dataset = _ingest(root, tmp_path)
    assert len(dataset.unknown) == 2
    assert dataset.left_out["_unknown/again.png"] == "the same photo as _unknown/000.png"


def test_a_photo_that_is_of_a_class_and_of_none_is_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"cat": 3, "dog": 3, "_unknown": 2})
    shutil.copy(root / "cat" / "001.png", root / "_unknown" / "cat.png")
    with pytest.raises(DatasetError, match=r"cat/001.png and _unknown/cat.png"):
        _ingest(root, tmp_path)


def test_halves_are_apart_and_about_equal() -> None:
    photos = _photos(400)
    fitted, held_out = assign_unknown(photos, seed=0)
    assert sorted(photo.row for photo in (*fitted, *held_out)) == list(range(400))
    assert 160 < len(fitted) < 240


def test_more_photos_move_none_and_another_seed_draws_anew() -> None:
    before, after = assign_unknown(_photos(50), seed=0), assign_unknown(_photos(90), seed=0)
    for few, many in zip(before, after, strict=True):
        assert {photo.sha256 for photo in few} <= {photo.sha256 for photo in many}
    assert assign_unknown(_photos(50), seed=1) != before
    assert assign_unknown((), seed=0) == ((), ())
