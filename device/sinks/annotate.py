"""What was said about a picture, painted onto it."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

from device.prediction import Prediction
from device.preprocess import Pixels

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _GREY, _GREEN, _AMBER = (255, 255, 255), (110, 110, 110), (90, 200, 90), (60, 170, 250)
# The font of OpenCV before version 5 has ASCII only.
_ASCII_ONLY = int(cv2.__version__.partition(".")[0]) < 5
_STRIP_SHARE = 0.45


def shrunk(pixels: Pixels, most_width: int) -> Pixels:
    """A copy at most so wide, (height, width, 3) uint8; sides even and at least 16, as video encoders want them."""
    height, width = pixels.shape[0], pixels.shape[1]
    scale = min(1.0, most_width / width)
    size = max(16, round(width * scale) // 2 * 2), max(16, round(height * scale) // 2 * 2)
    if size == (width, height):
        return np.array(pixels, np.uint8)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def annotate(pixels: Pixels, predictions: Sequence[Prediction]) -> None:
    """Paint one line per prediction, with a bar for its probability, and the time of the first, into the picture.

    Args:
        pixels: (height, width, 3) uint8 BGR; written to.
        predictions: of this picture's regions.
    """
    height = pixels.shape[0]
    line = max(12, height // 18)
    for row, prediction in enumerate(predictions):
        top = row * line
        if top + 2 * line > height:
            break
        _dim(pixels, top, line)
        _bar(pixels, top, line, prediction)
        _write(pixels, _words(prediction), (line // 3, top + line), line)
    if predictions:
        _dim(pixels, height - line, line)
        moment = _moment(predictions[0].captured_at)
        _write(pixels, f"{moment}  {predictions[0].camera}", (line // 3, height), line)


def _words(prediction: Prediction) -> str:
    region = f"{prediction.region}: " if prediction.region else ""
    label = prediction.answer or f"unknown ({prediction.top[0][0]}?)"
    event = f"  [{prediction.event.value}]" if prediction.event is not None else ""
    return f"{region}{label} {prediction.probability:.0%}{event}"


def _moment(captured_at: float) -> str:
    seconds, share = divmod(captured_at, 1)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + f".{int(share * 10)}"


def _dim(pixels: Pixels, top: int, line: int) -> None:
    strip = pixels[top : top + line]
    strip[:] = (strip * np.float32(_STRIP_SHARE)).astype(np.uint8)


def _bar(pixels: Pixels, top: int, line: int, prediction: Prediction) -> None:
    width = pixels.shape[1]
    left, right, upper, lower = width - width // 4, width - line // 3, top + line // 3, top + line - line // 3
    filled = left + round((right - left) * min(1.0, max(0.0, prediction.probability)))
    cv2.rectangle(pixels, (left, upper), (right, lower), _GREY, cv2.FILLED)
    cv2.rectangle(pixels, (left, upper), (filled, lower), _AMBER if prediction.unknown else _GREEN, cv2.FILLED)


def _write(pixels: Pixels, text: str, corner: tuple[int, int], line: int) -> None:
    """``corner``: left and bottom of the line."""
    if _ASCII_ONLY:
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    baseline = corner[0], corner[1] - line // 3
    cv2.putText(pixels, text, baseline, _FONT, line / 36, _WHITE, 1, cv2.LINE_AA)
