"""A contact sheet: rows of pictures with titles, drawn with OpenCV. Imports no TensorFlow."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PICTURE = 144
LABEL_WIDTH = 150
CAPTION_LINE = 16
HEADER_HEIGHT = 26
GAP = 8
MARGIN = 20
_LINE_HEIGHT = 20
_MOST_LABEL_LINES = 6
_TITLE_HEIGHT = 34
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _FAINT, _PAPER = (34, 34, 34), (110, 110, 110), (255, 255, 255)
_TITLE_SCALE, _TEXT_SCALE, _SMALL_SCALE = 0.75, 0.48, 0.42


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture, (H, W, 3) uint8 RGB of any size, and lines below it."""

    pixels: NDArray[np.uint8]
    caption: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One label and the pictures to its right."""

    label: str
    cells: tuple[Cell, ...]


def sheet_size(columns: int, rows: int, lines: int, captions: int) -> tuple[int, int]:
    """Height and width of a sheet in pixels; ``lines`` under the title, up to ``captions`` under a picture."""
    height = 2 * MARGIN + _TITLE_HEIGHT + lines * _LINE_HEIGHT + HEADER_HEIGHT + rows * _row_height(captions)
    return height, 2 * MARGIN + LABEL_WIDTH + columns * (PICTURE + GAP)


def draw_sheet(title: str, text: str, header: Sequence[str], rows: Sequence[Row]) -> NDArray[np.uint8]:
    """Draw a sheet.

    Args:
        title: one line.
        text: wrapped under the title.
        header: one short title for each column.
        rows: each with one cell for each column.

    Returns: (height, width, 3) uint8 BGR, of ``sheet_size``.
    """
    captions = max((len(cell.caption) for row in rows for cell in row.cells), default=0)
    lines = _wrapped(text, LABEL_WIDTH + len(header) * (PICTURE + GAP) - GAP)
    canvas = np.full((*sheet_size(len(header), len(rows), len(lines), captions), 3), _PAPER, np.uint8)
    _write(canvas, title, (MARGIN, MARGIN + 18), _TITLE_SCALE, _INK)
    top = MARGIN + _TITLE_HEIGHT
    for line in lines:
        top += _LINE_HEIGHT
        _write(canvas, line, (MARGIN, top - 6), _TEXT_SCALE, _FAINT)
    for column, name in enumerate(header):
        place = (_left(column), top + HEADER_HEIGHT - 8)
        _write(canvas, _shortened(name, PICTURE, _TEXT_SCALE), place, _TEXT_SCALE, _FAINT)
    top += HEADER_HEIGHT
    for row in rows:
        _draw_row(canvas, row, top)
        top += _row_height(captions)
    return canvas


def _draw_row(canvas: NDArray[np.uint8], row: Row, top: int) -> None:
    label = _wrapped(row.label, LABEL_WIDTH - 2 * GAP)[:_MOST_LABEL_LINES]
    first = top + (PICTURE - (len(label) - 1) * _LINE_HEIGHT) // 2 + 5
    for number, line in enumerate(label):
        _write(canvas, line, (MARGIN, first + number * _LINE_HEIGHT), _TEXT_SCALE, _INK)
    for column, cell in enumerate(row.cells):
        left = _left(column)
        picture = _fitted(cell.pixels)
        down, across = (PICTURE - picture.shape[0]) // 2, (PICTURE - picture.shape[1]) // 2
        canvas[top + down :, left + across :][: picture.shape[0], : picture.shape[1]] = picture[:, :, ::-1]
        for number, line in enumerate(cell.caption, start=1):
            place = (left, top + PICTURE + number * CAPTION_LINE - 2)
            _write(canvas, _shortened(line, PICTURE, _SMALL_SCALE), place, _SMALL_SCALE, _FAINT)


def _fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with its longer side ``PICTURE``; enlarged pixels stay visible as such."""
    height, width = pixels.shape[:2]
    scale = PICTURE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=way).astype(np.uint8)


def _left(column: int) -> int:
    return MARGIN + LABEL_WIDTH + column * (PICTURE + GAP)


def _row_height(captions: int) -> int:
    return PICTURE + GAP + captions * CAPTION_LINE


def _write(canvas: NDArray[np.uint8], text: str, place: tuple[int, int], scale: float, ink: tuple[int, ...]) -> None:
    cv2.putText(canvas, _drawable(text), place, _FONT, scale, ink, 1, cv2.LINE_AA)


def _width(text: str, scale: float) -> int:
    (width, _), _ = cv2.getTextSize(_drawable(text), _FONT, scale, 1)
    return int(width)


def _drawable(text: str) -> str:
    """The text as OpenCV can draw it.

    From version 5 on its own fonts have most scripts of the world, and a question mark for the rest. Version 4 has
    ASCII only: accents are left away there, other signs become question marks.
    """
    text = text.encode("utf-8", "replace").decode()  # names of files may hold bytes that are no text
    if hasattr(cv2, "FontFace"):
        return text
    plain = unicodedata.normalize("NFKD", text.translate({ord("±"): "+-", ord("×"): "x", ord("ß"): "ss"}))
    return "".join(sign for sign in plain if not unicodedata.combining(sign)).encode("ascii", "replace").decode()


def _shortened(text: str, room: int, scale: float) -> str:
    if _width(text, scale) <= room:
        return text
    while text and _width(text + "...", scale) > room:
        text = text[:-1]
    return text + "..."


def _wrapped(text: str, room: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and _width(f"{lines[-1]} {word}", _TEXT_SCALE) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(_shortened(word, room, _TEXT_SCALE))
    return lines
