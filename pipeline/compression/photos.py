"""The photos that a run was trained on, found again by their content. Imports no TensorFlow."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.cache import PixelCache, cache_root
from pipeline.dataset import Split, list_folder
from pipeline.display import Display
from pipeline.errors import DatasetError, RunError
from pipeline.fitted import Labelled
from pipeline.ingest import ingest
from pipeline.run import SPLITS, Run

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class RunPhotos:
    """As the board would see them."""

    train: Labelled
    validation: Labelled


@dataclass(frozen=True, slots=True)
class _Row:
    label: int
    file: str
    sha256: str


def photos_of(run: Run, data: Path | None, display: Display) -> RunPhotos:
    """Train and validation photos of a run, decoded by the board's own code. Test photos are not touched.

    Args:
        run: finished.
        data: the folder of photos, where it has moved since; None: where it was. Files are known by their content,
            so that other names and other class folders do not matter. It is not needed while all are in the cache.
        display: is told how many photos have been read.

    Raises:
        DatasetError: photos are gone or have changed; names some, and what to do.
        RunError: the run's list of photos is missing or damaged.
    """
    train, validation = (_rows(run, split) for split in (Split.TRAIN, Split.VALIDATION))
    cache = PixelCache(cache_root(), run.record.preprocess)
    wanted = {row.sha256 for row in (*train, *validation)}
    if not wanted <= cache.rows().keys():
        _read(run, data, cache, (*train, *validation), display)
    rows, pixels = cache.rows(), cache.pixels()

    def labelled(found: tuple[_Row, ...]) -> Labelled:
        labels = np.array([row.label for row in found], np.int64)
        return Labelled(pixels[[rows[row.sha256] for row in found]], labels)

    return RunPhotos(labelled(train), labelled(validation))


def _rows(run: Run, split: Split) -> tuple[_Row, ...]:
    path = run.folder / SPLITS
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line for line in csv.DictReader(stream) if line["split"] == split.value]
        rows = tuple(_Row(run.record.classes.index(line["class"]), line["file"], line["sha256"]) for line in lines)
    except (OSError, KeyError, ValueError, csv.Error) as err:
        raise RunError(f"{path}: missing or damaged ({err}); train again") from err
    if not rows:
        raise RunError(f"{path}: lists no {split.value} photos; train again")
    return rows


def _read(run: Run, data: Path | None, cache: PixelCache, wanted: tuple[_Row, ...], display: Display) -> None:
    folder = Path(run.record.data) if data is None else data
    remedy = (
        "name the folder that holds them now" if data is None else "give the folder with the photos of that training"
    )
    if not folder.is_dir():
        raise DatasetError(f"{run.folder} was trained on photos in {folder}, which is no folder (any more); {remedy}")
    listing = list_folder(folder)
    display.begin("photos", len(listing.files) + len(listing.unknown), "photo")
    ingest(listing, cache, run.record.preprocess, display.advance)
    display.end()
    known = cache.rows()
    lost = [row.file for row in wanted if row.sha256 not in known]
    if lost:
        changed = [file for file in lost if (folder / file).is_file()]
        parts = [f"{len(lost) - len(changed)} gone" if len(lost) > len(changed) else ""]
        parts.append(f"{len(changed)} changed" if changed else "")
        raise DatasetError(
            f"{folder}: of the {len(wanted)} photos that {run.folder} was trained and validated on, "
            f"{' and '.join(part for part in parts if part)} ({', '.join(lost[:_SHOWN])}"
            f"{', ...' if len(lost) > _SHOWN else ''}); put them back, {remedy}, or train again"
        )
