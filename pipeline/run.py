"""The Run folder: everything that a training leaves behind, and enough for all that comes after.

``run.json`` (config and results; written last, so its presence says that the run is complete),
``weights.safetensors``, ``splits.csv`` (which photo was in which split, and which of them quantisation is calibrated
on), ``history.csv`` (every epoch), ``photos.npz``
(calibration and validation photos as the board would see them, so that an export needs no data folder),
``report.html``, ``test_looks.csv`` (how often the test split was measured), ``log.txt`` (what the libraries had to
say), ``compressed/`` (pruned, clustered and quantised forms, see ``pipeline.compression``); while it is trained also
``backup/``, from which an interrupted training goes on.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from device.contract import ClassName, Contract, Decision, Fraction, PreprocessSpec, SplitRule, require_schema
from device.errors import ContractError
from pipeline.errors import RunError

RUN_SCHEMA = 2

RECORD, WEIGHTS, SPLITS, HISTORY, PHOTOS, LOG = (
    "run.json", "weights.safetensors", "splits.csv", "history.csv", "photos.npz", "log.txt"
)  # fmt: skip
REPORT, EXPORT_REPORT, TEST_LOOKS = "report.html", "export.html", "test_looks.csv"
BACKUP, SEARCH, COMPRESSED = "backup", "search", "compressed"


class StageRecord(Contract, frozen=True):
    """One stage of a training; ``photos_per_second`` counts views that went through the network."""

    name: str
    seconds: float
    photos_per_second: float
    epochs: int = 0
    validation_accuracy: Fraction | None = None
    learning_rate: float | None = None
    kept: bool = True


class HeadRecord(Contract, frozen=True):
    """The classification layers, see ``pipeline.config.HeadConfig``."""

    hidden: int
    batch_norm: bool
    dropout: Fraction
    label_smoothing: Fraction


class PhotoCounts(Contract, frozen=True):
    """Photos by split."""

    train: int
    validation: int
    test: int


class TestScore(Contract, frozen=True):
    """On the test split: accuracy with its 95 % confidence interval, macro F1, and calibration after temperature."""

    accuracy: Fraction
    low: Fraction
    high: Fraction
    n: int
    macro_f1: Fraction
    expected_calibration_error: Fraction


class RunRecord(Contract, frozen=True):
    """What ``run.json`` holds.

    ``left_out`` says which files of the folder were not used and why, ``peak_rss_mb`` how much memory the training
    held at most, in 10^6 bytes.
    """

    schema: Annotated[int, Meta(ge=1)]
    edgegraft_version: str
    created: str
    data: str
    backbone: str
    weights: str
    head: HeadRecord
    budget: str
    teacher: str | None
    seed: int
    classes: tuple[ClassName, ...]
    preprocess: PreprocessSpec
    split: SplitRule
    photos: PhotoCounts
    photos_per_class: dict[str, int]
    left_out: dict[str, str]
    hyperparameters: dict[str, float | int | str | bool]
    stages: tuple[StageRecord, ...]
    seconds: float
    peak_rss_mb: float
    decision: Decision
    validation_accuracy: Fraction
    test: TestScore


_PHOTO_ARRAYS = ("calibration", "validation", "labels", "unknown")


@dataclass(frozen=True, slots=True)
class ExportPhotos:
    """Photos as the board would see them, kept for export.

    Attributes:
        calibration: (n, height, width, 3) uint8 RGB, from train only.
        validation: (m, height, width, 3) uint8 RGB.
        labels: (m,) int64, of ``validation``.
        unknown: (k, height, width, 3) uint8 RGB of no class, those that the unknown threshold is fitted on.
    """

    calibration: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    labels: NDArray[np.int64]
    unknown: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Run:
    """A complete Run folder."""

    folder: Path
    record: RunRecord

    @property
    def weights(self) -> Path:
        """Keras weights of the whole classifier, in order."""
        return self.folder / WEIGHTS

    def photos(self) -> ExportPhotos:
        """The photos kept for export.

        Raises:
            RunError: they are missing or damaged.
        """
        path = self.folder / PHOTOS
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return ExportPhotos(*(arrays[name] for name in _PHOTO_ARRAYS))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
            raise RunError(f"{path}: cannot be read ({err}); train again") from err


def open_run(folder: Path) -> Run:
    """Open a finished run.

    Raises:
        RunError: no such folder, not finished, or not to be read by this version.
    """
    path = folder / RECORD
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run; 'edgegraft train PHOTOS --out {folder}' makes one")
    if not path.is_file():
        raise RunError(f"{folder}: holds no {RECORD}; the training did not finish: run it again")
    data = path.read_bytes()
    try:
        require_schema(data, RUN_SCHEMA, str(path), "train again")
        return Run(folder, msgspec.json.decode(data, type=RunRecord))
    except ContractError as err:
        raise RunError(str(err)) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise RunError(f"{path}: {err}; train again") from err


def prepare_folder(folder: Path, overwrite: bool) -> None:
    """Make the folder that a run goes into.

    Raises:
        RunError: a run, or something that is none, is in the way.
    """
    if (folder / RECORD).is_file() and not overwrite:
        raise RunError(f"{folder}: holds a finished run; name another folder, or add --overwrite")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; name a folder")
    foreign = [path.name for path in folder.iterdir() if path.name not in _OWN] if folder.is_dir() else []
    if foreign:
        raise RunError(f"{folder}: holds other files ({', '.join(sorted(foreign)[:3])}); name a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)


def begin_training(folder: Path) -> None:
    """A new training begins: from here on the folder holds no finished run, and nothing that belongs to one."""
    if (folder / RECORD).is_file():
        (folder / RECORD).unlink()
        discard_backup(folder)
        # Looks at the test split stay counted: with the same photos and seed it is the same split.
        for name in (HISTORY, REPORT, EXPORT_REPORT):
            (folder / name).unlink(missing_ok=True)
        # Made of the weights that are about to be replaced.
        shutil.rmtree(folder / COMPRESSED, ignore_errors=True)


def discard_backup(folder: Path) -> None:
    """The training is over, or another one begins."""
    shutil.rmtree(folder / BACKUP, ignore_errors=True)


def save_record(folder: Path, record: RunRecord) -> Run:
    """Write ``run.json``, atomically and last: now the run is complete."""
    write_atomically(folder / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1))
    return Run(folder, record)


def save_photos(folder: Path, photos: ExportPhotos) -> None:
    """Write ``photos.npz``, uncompressed."""
    np.savez(folder / PHOTOS, **{name: getattr(photos, name) for name in _PHOTO_ARRAYS})


def save_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table; file names are quoted as CSV asks."""
    import csv

    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by the whole new content or not at all, also after a power cut."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


_OWN = {
    RECORD,
    WEIGHTS,
    SPLITS,
    HISTORY,
    PHOTOS,
    LOG,
    BACKUP,
    SEARCH,
    COMPRESSED,
    REPORT,
    EXPORT_REPORT,
    TEST_LOOKS,
    *(f"{name}.partial" for name in (RECORD, WEIGHTS, HISTORY, REPORT, EXPORT_REPORT)),
}
