"""Files to a Dataset: what is left out and why, and that test stays honest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.contract import PreprocessSpec
from pipeline.cache import PixelCache
from pipeline.dataset import Dataset, Split, check_trainable, list_folder
from pipeline.errors import DatasetError
from pipeline.ingest import ingest

MakeFolder = Callable[..., Path]
SPEC = PreprocessSpec(height=16, width=16)


def _ingest(root: Path, tmp_path: Path) -> Dataset:
    return ingest(list_folder(root), PixelCache(tmp_path / "cache", SPEC), SPEC)


def _kept(dataset: Dataset) -> set[str]:
    return {str(photo.path.relative_to(dataset.root)) for photo in dataset.photos}


def test_every_file_is_reported_once(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 300, "b": 5})
    (root / "b" / "broken.jpg").write_bytes(b"")
    told = []
    dataset = ingest(list_folder(root), PixelCache(tmp_path / "cache", SPEC), SPEC, lambda: told.append(1))
    assert len(told) == 306
    assert dataset.counts() == {"a": 300, "b": 5}


def test_damaged_files_are_left_out_with_a_reason(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 3, "b": 3})
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    (root / "a" / "empty.jpg").write_bytes(b"")
    (root / "a" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "text.jpg").write_bytes(b"this is no photo")
    (root / "b" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "b" / "notes.txt").write_text("no photo by its name")
    dataset = _ingest(root, tmp_path)
    assert dataset.counts() == {"a": 3, "b": 3}
    assert "0 bytes" in dataset.left_out["a/empty.jpg"]
    assert "cut short" in dataset.left_out["a/half.jpg"]
    assert "not a photo" in dataset.left_out["a/text.jpg"]
    assert "No such file" in dataset.left_out["b/gone.jpg"]
    assert "not a photo by its name" in dataset.left_out["b/notes.txt"]


def test_a_damaged_file_is_left_out_again_the_second_time(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 3, "b": 3})
    (root / "a" / "text.jpg").write_bytes(b"this is no photo")
    assert _ingest(root, tmp_path) == _ingest(root, tmp_path)


def test_a_copy_in_the_same_class_is_left_out(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 3, "b": 3})
    shutil.copy(root / "a" / "001.png", root / "a" / "again.png")
    dataset = _ingest(root, tmp_path)
    assert dataset.left_out == {"a/again.png": "the same photo as a/001.png"}
    assert dataset.counts() == {"a": 3, "b": 3}


@pytest.mark.parametrize("leak_to", ["test", "val"])
def test_a_photo_of_train_that_is_measured_on_stays_there_and_leaves_train(
    make_folder: MakeFolder, tmp_path: Path, leak_to: str
) -> None:
    root = tmp_path / "photos"
    for number, split in enumerate(("train", "val", "test")):
        make_folder({"a": 4 + number, "b": 10}, root=f"photos/{split}")
    shutil.copy(root / "train" / "a" / "002.png", root / leak_to / "a" / "leak.png")
    dataset = _ingest(root, tmp_path)
    assert dataset.left_out == {"train/a/002.png": f"the same photo as {leak_to}/a/leak.png"}
    assert f"{leak_to}/a/leak.png" in _kept(dataset)
    assert sum(photo.folder_split is Split.TRAIN for photo in dataset.photos) == 13


def test_the_same_photo_in_two_classes_is_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 3, "b": 3})
    shutil.copy(root / "a" / "001.png", root / "b" / "wrong.png")
    with pytest.raises(DatasetError, match=r"in two classes: a/001\.png and b/wrong\.png; remove the wrong one"):
        _ingest(root, tmp_path)


def test_a_class_is_counted_after_copies_and_damage(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 3, "b": 2})
    shutil.copy(root / "b" / "001.png", root / "b" / "copy.png")
    dataset = _ingest(root, tmp_path)
    with pytest.raises(DatasetError, match=r"too few usable photos in b \(a: 3, b: 2\).* 1 file\(s\) were left out"):
        check_trainable(dataset)
