"""The labelled photos that prove a foreign model, as the board would see them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.contract import PreprocessSpec
from export.adopt.errors import AdoptError
from export.adopt.labels import Labels
from export.adopt.naming import list_labelled
from pipeline.cache import PixelCache, cache_root
from pipeline.dataset import Listed, Photo
from pipeline.display import Display
from pipeline.ingest import ingest

# Where temperature and threshold are to be fitted, half of the photos do that and the other half measures it.
_LEAST_TO_HALVE = 100
# They are held in memory, and say the accuracy to within a point.
_MOST_PHOTOS = 5000


@dataclass(frozen=True, slots=True)
class ProofPhotos:
    """Photos in memory-mapped rows.

    Attributes:
        pixels: (n, height, width, 3) uint8 RGB.
        labels: (n,) int64, the model's outputs.
        fitting: (n,) bool, those that temperature and threshold may be fitted on; none where there are few.
        unknown: (m, height, width, 3) uint8 RGB, photos of no class.
        unknown_fitting: (m,) bool, as ``fitting``.
        notes: sentences about how names were read and how many were taken.
        left_out: files that could not be used, with the reason.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    fitting: NDArray[np.bool_]
    unknown: NDArray[np.uint8]
    unknown_fitting: NDArray[np.bool_]
    notes: tuple[str, ...]
    left_out: dict[str, str]


def load_photos(root: Path, labels: Labels, spec: PreprocessSpec, display: Display) -> ProofPhotos:
    """List, decode and label the photos of a folder.

    Raises:
        AdoptError: no usable photo, or a name that fits no label.
        DatasetError: no such folder, or one photo in two classes.
    """
    listing, how = list_labelled(root, labels)
    files = _evenly(listing.files)
    notes = [f"photos: {how}"]
    if len(files) < len(listing.files):
        notes.append(f"photos: {len(files)} of {len(listing.files)} are taken, evenly over the classes")
    listing = replace(listing, files=files)
    cache = PixelCache(cache_root(), spec)
    display.begin("reading", len(files) + len(listing.unknown), "photo")
    dataset = ingest(listing, cache, spec, display.advance)
    display.end()
    if not dataset.photos:
        path, reason = next(iter(dataset.left_out.items()), ("", "no photos"))
        raise AdoptError(f"{root}: no photo could be used; {path}: {reason}")
    rows = cache.pixels()
    return ProofPhotos(
        rows[[photo.row for photo in dataset.photos]],
        np.array([photo.label for photo in dataset.photos], np.int64),
        np.array([_fits(photo) for photo in dataset.photos]) & (len(dataset.photos) >= _LEAST_TO_HALVE),
        rows[[photo.row for photo in dataset.unknown]],
        np.array([_fits(photo) for photo in dataset.unknown], bool),
        tuple(notes),
        dict(dataset.left_out),
    )


def _evenly(files: tuple[Listed, ...]) -> tuple[Listed, ...]:
    by_class = sorted(files, key=lambda file: file.label)
    if len(by_class) <= _MOST_PHOTOS:
        return files
    taken = np.linspace(0, len(by_class) - 1, _MOST_PHOTOS).round().astype(int)
    return tuple(by_class[int(index)] for index in taken)


def _fits(photo: Photo) -> bool:
    # By content, as everywhere: another folder with the same photo treats it alike.
    return int(photo.sha256[:8], 16) % 2 == 0
