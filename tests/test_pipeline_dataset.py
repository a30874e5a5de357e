"""Which files of a folder become photos of which class."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.dataset import Split, list_folder
from pipeline.errors import DatasetError

MakeFolder = Callable[..., Path]


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"never opened here")
    return path


def _three_splits(root: Path, validation: str, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for split in ("train", validation, "test"):
        for name in classes:
            _touch(root / split / name / f"{split}.jpg")
    return root


def test_one_folder_per_class(make_folder: MakeFolder) -> None:
    listing = list_folder(make_folder({"rose": 2, "daisy": 3}))
    assert listing.classes == ("daisy", "rose")
    assert [file.label for file in listing.files] == [0, 0, 0, 1, 1]
    assert not listing.ready_made
    assert all(file.folder_split is None for file in listing.files)
    assert listing.ignored == {}


def test_photos_in_sub_folders_belong_to_the_class_above(tmp_path: Path) -> None:
    _touch(tmp_path / "cat" / "monday" / "morning" / "1.jpg")
    _touch(tmp_path / "dog" / "1.jpg")
    listing = list_folder(tmp_path)
    assert listing.classes == ("cat", "dog")
    assert [listing.classes[file.label] for file in listing.files] == ["cat", "dog"]


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_ready_made_splits(tmp_path: Path, validation: str) -> None:
    listing = list_folder(_three_splits(tmp_path, validation))
    assert listing.ready_made
    assert listing.classes == ("cat", "dog")
    found = {file.path.relative_to(tmp_path).parts[0]: file.folder_split for file in listing.files}
    assert found == {"train": Split.TRAIN, validation: Split.VALIDATION, "test": Split.TEST}


def test_ready_made_splits_without_validation(tmp_path: Path) -> None:
    for split in ("train", "test"):
        _touch(tmp_path / split / "cat" / "1.jpg")
        _touch(tmp_path / split / "dog" / "1.jpg")
    assert {file.folder_split for file in list_folder(tmp_path).files} == {Split.TRAIN, Split.TEST}


def test_classes_that_are_named_train_and_test_but_hold_photos_are_classes(make_folder: MakeFolder) -> None:
    listing = list_folder(make_folder({"train": 2, "test": 2, "bus": 2}))
    assert listing.classes == ("bus", "test", "train")
    assert not listing.ready_made


def test_hidden_files_and_folders_are_passed_over_in_silence(tmp_path: Path) -> None:
    _touch(tmp_path / "cat" / "1.jpg")
    for hidden in (".DS_Store", "cat/.hidden.jpg", "cat/._1.jpg", "cat/.thumbnails/1.jpg", ".cache/1.jpg"):
        _touch(tmp_path / hidden)
    listing = list_folder(tmp_path)
    assert listing.classes == ("cat",)
    assert [file.path.name for file in listing.files] == ["1.jpg"]
    assert listing.ignored == {}


def test_the_same_class_in_two_unicode_forms_has_one_name_in_every_split(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Möhre") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for split, name in (("train", composed), ("test", decomposed)):
        _touch(tmp_path / split / name / "1.jpg")
        _touch(tmp_path / split / "kiwi" / "1.jpg")
    listing = list_folder(tmp_path)
    assert listing.classes == (composed, "kiwi")
    by_split = {file.folder_split: file.label for file in listing.files if "kiwi" not in file.path.parts}
    assert by_split == {Split.TRAIN: 0, Split.TEST: 0}


def test_two_folders_of_one_class_in_different_unicode_forms_are_named(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        _touch(tmp_path / unicodedata.normalize(form, "Möhre") / "1.jpg")
    with pytest.raises(DatasetError, match=r"two folders are named 'Möhre' in different Unicode forms; merge them"):
        list_folder(tmp_path)


@pytest.mark.parametrize("name", ["hot dog", " leading and trailing ", "日本", "🍓", "a'b\"c", "%s", "x" * 255])
def test_class_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    _touch(tmp_path / name / "1.jpg")
    assert list_folder(tmp_path).classes == (name,)


def test_very_long_and_odd_file_names(tmp_path: Path) -> None:
    names = ["x" * 251 + ".jpg", "with space.JPG", "new\nline.png", "日本.jpeg", "two.dots.webp"]
    for name in names:
        _touch(tmp_path / "cat" / name)
    assert {file.path.name for file in list_folder(tmp_path).files} == set(names)


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_1.heif", "IMG_1.avif"])
def test_formats_of_phones_that_cannot_be_read_are_listed_with_the_remedy(tmp_path: Path, name: str) -> None:
    _touch(tmp_path / "cat" / "1.jpg")
    _touch(tmp_path / "cat" / name)
    listing = list_folder(tmp_path)
    assert listing.ignored == {f"cat/{name}": f"{name.split('.')[1].upper()} cannot be read; convert it to JPEG"}
    assert len(listing.files) == 1


def test_files_that_are_no_photos_by_their_name_are_listed(tmp_path: Path) -> None:
    for name in ("1.jpg", "notes.txt", "film.mp4", "no_suffix"):
        _touch(tmp_path / "cat" / name)
    listing = list_folder(tmp_path)
    assert set(listing.ignored) == {"cat/notes.txt", "cat/film.mp4", "cat/no_suffix"}
    assert all(".jpg" in reason and ".png" in reason for reason in listing.ignored.values())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere: no such folder; expected one with a folder of photos per class"):
        list_folder(tmp_path / "nowhere")


def test_two_validation_folders_are_refused(tmp_path: Path) -> None:
    _three_splits(tmp_path, "val")
    _touch(tmp_path / "validation" / "cat" / "2.jpg")
    _touch(tmp_path / "validation" / "dog" / "2.jpg")
    with pytest.raises(DatasetError, match=r"val/ and validation/"):
        list_folder(tmp_path)
