"""A folder of photos as data: which files, which classes, and what had to be left out.

Two layouts are understood: one folder per class, or ``train/ [val/] test/`` each with one folder per class. Beside them
``_unknown/`` may hold photos of things that are no class: they fit and measure the unknown threshold.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from device.preprocess import PHOTO_SUFFIXES
from pipeline.errors import DatasetError

# Three splits have to hold one each.
LEAST_PHOTOS_PER_CLASS = 3

UNKNOWN_FOLDER = "_unknown"
# The label of a photo of no class.
UNKNOWN_LABEL = -1

_VALIDATION_NAMES = ("val", "valid", "validation")


class Split(Enum):
    """What a photo is used for. Validation drives every choice; test is looked at once."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that looks like a photo by its name. ``folder_split`` is None in the layout without splits."""

    path: Path
    label: int
    folder_split: Split | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a folder, before any file has been opened.

    Attributes:
        root: the folder.
        classes: names in order; an index into it is a label.
        files: in the order of their paths.
        ready_made: whether the folder itself says which split a photo belongs to.
        ignored: files that are no photos by their name, with the reason.
        unknown: photos of no class, labelled ``UNKNOWN_LABEL``.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Listed, ...]
    ready_made: bool
    ignored: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[Listed, ...] = ()


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that could be decoded.

    Attributes:
        path: the file.
        label: index of its class, or ``UNKNOWN_LABEL``.
        sha256: of the file's bytes, hexadecimal.
        row: where its pixels are in the cache.
        folder_split: as in ``Listed``.
    """

    path: Path
    label: int
    sha256: str
    row: int
    folder_split: Split | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Photos to train or measure on; ``left_out`` says which files were not usable and why.

    ``unknown`` are photos of no class; they are in none of the splits, see ``split.assign_unknown``.
    """

    root: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    ready_made: bool
    left_out: Mapping[str, str]
    unknown: tuple[Photo, ...] = ()

    def counts(self) -> dict[str, int]:
        """Photos by class name, in the order of the classes."""
        found = Counter(photo.label for photo in self.photos)
        return {name: found[label] for label, name in enumerate(self.classes)}


def list_folder(root: Path) -> Listing:
    """List the photos of a folder by class, without opening any.

    Raises:
        DatasetError: no such folder, no photos, or splits whose classes differ.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected one with a folder of photos per class")
    splits = _ready_made_splits(root)
    if not splits:
        return _listing(root, _class_folders(root), {None: root})
    classes = _class_folders(splits[Split.TRAIN])
    for split, folder in splits.items():
        if (folder / UNKNOWN_FOLDER).is_dir():
            raise DatasetError(
                f"{folder / UNKNOWN_FOLDER}: photos of no class belong in {root / UNKNOWN_FOLDER}; move them"
            )
        _require_same_classes(folder, split, classes)
    return _listing(root, classes, splits)


def check_trainable(dataset: Dataset) -> None:
    """Refuse what cannot be trained on.

    Raises:
        DatasetError: fewer than two classes, a class with too few photos, or one photo in two classes.
    """
    counts = dataset.counts()
    table = ", ".join(f"{name}: {count}" for name, count in counts.items()) or "no photos at all"
    if len(counts) < 2:
        raise DatasetError(f"{dataset.root}: {table}; a classifier needs two classes or more, a folder each")
    small = [name for name, count in counts.items() if count < LEAST_PHOTOS_PER_CLASS]
    if small:
        raise DatasetError(
            f"{dataset.root}: too few usable photos in {', '.join(small)} ({table}); every class needs "
            f"{LEAST_PHOTOS_PER_CLASS} or more, fifty make a good start{_left_out_hint(dataset.left_out)}"
        )


def check_unambiguous(root: Path, classes: tuple[str, ...], photos: Iterable[Photo]) -> None:
    """Refuse a photo that lies in two classes, or in one and in ``_unknown``.

    Whichever label is wrong would be learned and measured.

    Raises:
        DatasetError: names the files, up to five pairs.
    """
    first: dict[str, Photo] = {}
    pairs = []
    for photo in photos:
        other = first.setdefault(photo.sha256, photo)
        if other.label != photo.label:
            pairs.append(f"{other.path.relative_to(root)} and {photo.path.relative_to(root)}")
    if pairs:
        more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
        raise DatasetError(
            f"{root}: the same photo is in two classes: {'; '.join(pairs[:5])}{more}; remove the wrong one"
        )


def printable(path: Path | str) -> str:
    """A path as valid UTF-8, for messages and records; bytes of a name that are none become ``\\xfc`` and the like."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _ready_made_splits(root: Path) -> dict[Split, Path]:
    train, test = root / "train", root / "test"
    if not (train.is_dir() and test.is_dir() and _has_folders(train) and _has_folders(test)):
        return {}
    splits = {Split.TRAIN: train, Split.TEST: test}
    validation = [root / name for name in _VALIDATION_NAMES if (root / name).is_dir()]
    if len(validation) > 1:
        names = " and ".join(f"{folder.name}/" for folder in validation)
        raise DatasetError(f"{root}: {names} are both validation; keep one of them")
    if validation:
        splits[Split.VALIDATION] = validation[0]
    return splits


def _has_folders(folder: Path) -> bool:
    return any(_is_class_folder(path) for path in folder.iterdir())


def _is_class_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and path.name != UNKNOWN_FOLDER


def _class_folders(root: Path) -> tuple[str, ...]:
    names = sorted(_class_name(path) for path in root.iterdir() if _is_class_folder(path))
    not_utf8 = [name for name in names if printable(name) != name]
    if not_utf8:
        raise DatasetError(f"{printable(root)}: the folder name {printable(not_utf8[0])!r} is not UTF-8; rename it")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DatasetError(f"{root}: two folders are named {twice[0]!r} in different Unicode forms; merge them")
    return tuple(names)


def _class_name(folder: Path) -> str:
    # macOS writes names decomposed: the same class copied from a Mac must not become another one.
    return unicodedata.normalize("NFC", folder.name)


def _require_same_classes(folder: Path, split: Split, classes: tuple[str, ...]) -> None:
    found = set(_class_folders(folder))
    lacking, extra = sorted(set(classes) - found), sorted(found - set(classes))
    if lacking or extra:
        what = f"lacks {', '.join(lacking)}" if lacking else f"has {', '.join(extra)}, which train/ lacks"
        raise DatasetError(
            f"{folder}: the {split.value} split {what}; labels would shift. Give every split the same class folders"
        )


def _listing(root: Path, classes: tuple[str, ...], folders: Mapping[Split, Path] | Mapping[None, Path]) -> Listing:
    labels = {name: label for label, name in enumerate(classes)}
    files: list[Listed] = []
    ignored: dict[str, str] = {}
    for split, folder in folders.items():
        for class_folder in sorted(path for path in folder.iterdir() if _is_class_folder(path)):
            label = labels[_class_name(class_folder)]
            files += _photos_under(root, class_folder, label, split, ignored)
    unknown = _photos_under(root, root / UNKNOWN_FOLDER, UNKNOWN_LABEL, None, ignored)
    return Listing(root, classes, tuple(files), None not in folders, ignored, tuple(unknown))


def _photos_under(root: Path, folder: Path, label: int, split: Split | None, ignored: dict[str, str]) -> list[Listed]:
    """The photos of a folder, which may be absent; the files that are none go to ``ignored``."""
    photos = []
    for path in sorted(folder.rglob("*")):
        reason = _reason_to_ignore(path, folder)
        if reason is None:
            photos.append(Listed(path, label, split))
        elif reason:
            ignored[printable(path.relative_to(root))] = reason
    return photos


def _reason_to_ignore(path: Path, class_folder: Path) -> str | None:
    """None for a photo, an empty string for what is passed over in silence, else the reason."""
    hidden = any(part.startswith(".") for part in path.relative_to(class_folder).parts)
    if hidden or path.is_dir():
        return ""
    suffix = path.suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        return None
    if suffix in (".heic", ".heif", ".avif"):
        return f"{suffix[1:].upper()} cannot be read; convert it to JPEG"
    return f"not a photo by its name; photos end in {', '.join(sorted(PHOTO_SUFFIXES))}"


def _left_out_hint(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    path, reason = next(iter(left_out.items()))
    return f". {len(left_out)} file(s) were left out, such as {path}: {reason}"
