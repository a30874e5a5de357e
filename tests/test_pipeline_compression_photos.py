"""Photos of a run are found again by content, wherever they are; what is gone or changed is named."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.preprocess import preprocess_bytes
from pipeline.compression.photos import photos_of
from pipeline.config import Budget, TrainConfig
from pipeline.display import Silent
from pipeline.errors import DatasetError, RunError
from pipeline.run import SPLITS, Run
from pipeline.train import train


@pytest.fixture(scope="module")
def trained(shape_photos: Path, lenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run and its photos, which these tests may move."""
    folder = tmp_path_factory.mktemp("moving")
    photos = folder / "photos"
    shutil.copytree(shape_photos, photos)
    return train(TrainConfig(photos, folder / "run", "lenet5", str(lenet_weights), budget=Budget.FAST)), photos


@pytest.fixture
def away(trained: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Path]:
    """A copy of the photos elsewhere, an empty cache, and a run that looks for them where there is nothing."""
    run, photos = trained
    monkeypatch.setenv("EDGEGRAFT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(photos, tmp_path / "elsewhere")
    return Run(run.folder, _with_data(run, tmp_path / "nowhere")), tmp_path / "elsewhere"


def _with_data(run: Run, data: Path):  # type: ignore[no-untyped-def]
    import msgspec

    return msgspec.structs.replace(run.record, data=str(data))


def _rows(run: Run, split: str) -> list[dict[str, str]]:
    with (run.folder / SPLITS).open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["split"] == split]


def test_photos_come_as_the_board_sees_them_with_their_labels_and_none_of_test(trained: tuple[Run, Path]) -> None:
    run, photos = trained
    found = photos_of(run, None, Silent())
    rows = _rows(run, "train")
    assert len(found.train.labels) == len(rows) == run.record.photos.train
    assert len(found.validation.labels) == run.record.photos.validation
    assert [run.record.classes[label] for label in found.train.labels] == [row["class"] for row in rows]
    expected = preprocess_bytes((photos / rows[5]["file"]).read_bytes(), run.record.preprocess)
    np.testing.assert_array_equal(found.train.pixels[5], expected)
    test = preprocess_bytes((photos / _rows(run, "test")[0]["file"]).read_bytes(), run.record.preprocess)
    assert not (found.train.pixels == test).all(axis=(1, 2, 3)).any()


def test_the_folder_is_not_needed_while_the_cache_has_the_photos(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, _ = trained
    moved = replace(run, record=_with_data(run, tmp_path / "gone"))
    np.testing.assert_array_equal(
        photos_of(moved, None, Silent()).train.pixels, photos_of(run, None, Silent()).train.pixels
    )


def test_a_folder_that_has_moved_is_asked_for(away: tuple[Run, Path]) -> None:
    run, elsewhere = away
    with pytest.raises(DatasetError, match=r"trained on photos in .*nowhere, which is no folder .*name the folder"):
        photos_of(run, None, Silent())
    assert len(photos_of(run, elsewhere, Silent()).train.labels) == run.record.photos.train


def test_photos_are_known_by_content_whatever_they_are_called(away: tuple[Run, Path]) -> None:
    run, elsewhere = away
    for folder in sorted(elsewhere.iterdir()):
        for file in folder.iterdir():
            file.rename(file.with_name(f"renamed-{file.name}"))
        folder.rename(folder.with_name(f"new-{folder.name}"))
    found = photos_of(run, elsewhere, Silent())
    assert [run.record.classes[label] for label in found.train.labels] == [row["class"] for row in _rows(run, "train")]


def test_photos_that_are_gone_or_changed_are_named(away: tuple[Run, Path]) -> None:
    run, elsewhere = away
    gone, changed = (elsewhere / row["file"] for row in _rows(run, "train")[:2])
    gone.unlink()
    picture = cv2.imread(str(changed))
    cv2.imwrite(str(changed), 255 - picture)
    expected = rf"1 gone and 1 changed \({gone.parent.name}/{gone.name}, .*{changed.name}\); put them back"
    with pytest.raises(DatasetError, match=expected):
        photos_of(run, elsewhere, Silent())


def test_a_test_photo_that_is_gone_is_no_obstacle(away: tuple[Run, Path]) -> None:
    run, elsewhere = away
    (elsewhere / _rows(run, "test")[0]["file"]).unlink()
    assert len(photos_of(run, elsewhere, Silent()).validation.labels) == run.record.photos.validation


def test_a_run_without_its_list_is_refused(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, photos = trained
    with pytest.raises(RunError, match=r"splits\.csv: missing or damaged"):
        photos_of(replace(run, folder=tmp_path), photos, Silent())
