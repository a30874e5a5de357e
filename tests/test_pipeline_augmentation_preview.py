"""The preview sheet: a PNG of the right grid, whatever the classes are called."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.augmentation import sheet
from pipeline.augmentation.config import AugmentConfig, Preset, preset
from pipeline.augmentation.preview import write_preview
from pipeline.errors import PipelineError


def _photos(classes: int, each: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (classes * each, 48, 40, 3), np.uint8), np.repeat(np.arange(classes), each)


def _sheet(path: Path, classes: list[str], config: AugmentConfig, seed: int = 0) -> NDArray[np.uint8]:
    pixels, labels = _photos(len(classes))
    write_preview(path, pixels, labels, classes, config, seed)
    decoded = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded.astype(np.uint8)


def _grid(shape: tuple[int, ...], captions: int) -> tuple[int, int]:
    """Columns and rows of pictures on a sheet of this height and width, with one line of text."""
    height, width = sheet.sheet_size(0, 0, 1, captions)
    step = sheet.sheet_size(0, 1, 1, captions)[0] - height
    assert (shape[0] - height) % step == 0
    assert (shape[1] - width) % (sheet.PICTURE + sheet.GAP) == 0
    return (shape[1] - width) // (sheet.PICTURE + sheet.GAP), (shape[0] - height) // step


@pytest.mark.parametrize(
    ("classes", "config", "captions", "grid"),
    [
        (5, preset(Preset.LIGHT), 0, (7, 5)),
        (5, preset(Preset.STANDARD), 2, (8, 5)),
        (2, AugmentConfig(flip=True, cutmix_alpha=1.0, mixup_alpha=1.0), 2, (9, 4)),
        (30, AugmentConfig(flip=True), 0, (7, 12)),
    ],
)
def test_rows_are_classes_and_columns_are_views(
    classes: int, config: AugmentConfig, captions: int, grid: tuple[int, int], tmp_path: Path
) -> None:
    picture = _sheet(tmp_path / "sheet.png", [f"kind {number}" for number in range(classes)], config)
    assert _grid(picture.shape, captions) == grid


def test_every_preset_has_a_sheet_of_its_own_and_a_seed_repeats_it(tmp_path: Path) -> None:
    sheets = {choice: _sheet(tmp_path / f"{choice.value}.png", ["a", "b"], preset(choice)) for choice in Preset}
    assert len({picture.tobytes() for picture in sheets.values()}) == len(Preset)
    again = _sheet(tmp_path / "again.png", ["a", "b"], preset(Preset.STRONG))
    np.testing.assert_array_equal(again, sheets[Preset.STRONG])
    other = _sheet(tmp_path / "other.png", ["a", "b"], preset(Preset.LIGHT), seed=1)
    assert (other != sheets[Preset.LIGHT]).any()


def test_without_augmentation_every_view_is_the_photo(tmp_path: Path) -> None:
    picture = _sheet(tmp_path / "sheet.png", ["a"], AugmentConfig())
    top = sheet.sheet_size(0, 0, 1, 0)[0] - sheet.MARGIN
    left = sheet.MARGIN + sheet.LABEL_WIDTH
    columns = [
        picture[top : top + sheet.PICTURE, start : start + sheet.PICTURE]
        for start in range(left, left + 7 * (sheet.PICTURE + sheet.GAP), sheet.PICTURE + sheet.GAP)
    ]
    assert columns[0].std() > 30
    for column in columns[1:]:
        np.testing.assert_array_equal(column, columns[0])


def test_class_names_of_any_kind_are_drawn(tmp_path: Path) -> None:
    names = ["Gänseblümchen", "牡丹", "роза", "🌻", "bad\udce9bytes", "", "x" * 300, " ".join(["long"] * 60)]
    picture = _sheet(tmp_path / "sheet.png", names, preset(Preset.STRONG))
    labels = picture[sheet.sheet_size(0, 0, 3, 2)[0] :, : sheet.MARGIN + sheet.LABEL_WIDTH - sheet.GAP]
    assert labels.min() < 100


def test_a_class_without_photos_is_left_out_and_no_photos_at_all_is_an_error(tmp_path: Path) -> None:
    pixels, labels = _photos(2)
    write_preview(tmp_path / "sheet.png", pixels, labels * 2, ["a", "empty", "c"], AugmentConfig(), 0)
    assert (tmp_path / "sheet.png").exists()
    with pytest.raises(PipelineError, match=r"none\.png: no photos"):
        write_preview(tmp_path / "none.png", pixels[:0], labels[:0], ["a"], AugmentConfig(), 0)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"absent.sheet\.png: the preview cannot be written"):
        _sheet(tmp_path / "absent" / "sheet.png", ["a"], AugmentConfig())
