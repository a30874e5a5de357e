"""From a listing to a Dataset: read, hash, and decode what the cache does not hold yet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from device.contract import PreprocessSpec
from device.errors import PhotoError
from device.preprocess import Pixels, preprocess_bytes
from pipeline.cache import CacheWriter, PixelCache
from pipeline.dataset import (
    UNKNOWN_LABEL,
    Dataset,
    Listed,
    Listing,
    Photo,
    Split,
    check_unambiguous,
    printable,
)

# Decoded pictures that wait for the writer: some 40 MB at 224x224.
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class _Read:
    """A file after reading: its pixels (None when the cache has them) or the reason why there are none."""

    listed: Listed
    sha256: str = ""
    pixels: Pixels | None = None
    reason: str = ""


def ingest(
    listing: Listing, cache: PixelCache, spec: PreprocessSpec, on_photo: Callable[[], None] = lambda: None
) -> Dataset:
    """Decode every photo once, on all cores, into the cache.

    Args:
        listing: from ``list_folder``.
        cache: for this ``spec``.
        spec: the preprocessing that the board will use too.
        on_photo: called after each file, for a progress bar.

    Returns:
        the usable photos. Files that cannot be decoded, and copies of a photo, are in ``left_out``.

    Raises:
        DatasetError: one photo lies in two classes, or in a class and in ``_unknown``.
    """
    photos: list[Photo] = []
    left_out = dict(listing.ignored)
    with cache.writer() as writer, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for read in _in_chunks(pool, [*listing.files, *listing.unknown], lambda listed: _read(listed, writer, spec)):
            on_photo()
            if read.reason:
                left_out[printable(read.listed.path.relative_to(listing.root))] = read.reason
            else:
                photos.append(_keep(read, writer))
    check_unambiguous(listing.root, listing.classes, photos)
    unique = _without_copies(listing.root, photos, left_out)
    known = tuple(photo for photo in unique if photo.label != UNKNOWN_LABEL)
    unknown = tuple(photo for photo in unique if photo.label == UNKNOWN_LABEL)
    return Dataset(listing.root, listing.classes, known, listing.ready_made, left_out, unknown)


def _in_chunks(pool: ThreadPoolExecutor, files: Iterable[Listed], work: Callable[[Listed], _Read]) -> Iterator[_Read]:
    remaining = iter(files)
    while chunk := list(islice(remaining, _CHUNK)):
        yield from pool.map(work, chunk)


def _read(listed: Listed, writer: CacheWriter, spec: PreprocessSpec) -> _Read:
    try:
        data = listed.path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        pixels = None if sha256 in writer.rows else preprocess_bytes(data, spec)
        return _Read(listed, sha256, pixels)
    except PhotoError as err:
        return _Read(listed, reason=str(err))
    except OSError as err:
        return _Read(listed, reason=f"{err.strerror}; check the file's rights and the disk")


def _keep(read: _Read, writer: CacheWriter) -> Photo:
    row = writer.rows.get(read.sha256)
    if row is None:
        assert read.pixels is not None
        row = writer.add(read.sha256, read.pixels)
    return Photo(read.listed.path, read.listed.label, read.sha256, row, read.listed.folder_split)


def _without_copies(root: Path, photos: list[Photo], left_out: dict[str, str]) -> list[Photo]:
    # A copy adds nothing to train on, and one that lies in train/ as well as in test/ would make test meaningless:
    # of such a pair the one that is measured on stays.
    kept: dict[str, Photo] = {}
    for photo in sorted(photos, key=lambda photo: (photo.folder_split in (None, Split.TRAIN), photo.path)):
        first = kept.setdefault(photo.sha256, photo)
        if first is not photo:
            original = printable(first.path.relative_to(root))
            left_out[printable(photo.path.relative_to(root))] = f"the same photo as {original}"
    return sorted(kept.values(), key=lambda photo: photo.path)
