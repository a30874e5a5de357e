"""Frames that come as JPEG, decoded no larger than they are needed."""

from __future__ import annotations

import io

import cv2
import imagesize
import numpy as np

from device.errors import BadFrame, PhotoError
from device.preprocess import Pixels, decode, reaches_jpeg_end

# 67 megapixels, 200 MB decoded: above any network camera.
MOST_PIXELS = 2**26
_JPEG_START = b"\xff\xd8"
# The decoder leaves out coefficients: a quarter of the size costs about a third of the time.
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


def decode_jpeg(data: bytes, want: tuple[int, int] | None = None) -> tuple[Pixels, tuple[int, int]]:
    """Decode a frame, by a half, quarter or eighth of its size where that still is what is wanted.

    Args:
        data: a JPEG; other formats that a snapshot may have are decoded in full size.
        want: (height, width) that the picture must not be smaller than, unless it is from the start; None: full size.

    Returns:
        (height, width, 3) uint8 BGR, upright by its EXIF orientation, and the (height, width) of the full picture.

    Raises:
        BadFrame: empty, cut short, damaged, no picture, or above 67 megapixels.
    """
    full = _full_size(data)
    if not data.startswith(_JPEG_START):
        try:
            picture = decode(data)
        except PhotoError as err:
            raise BadFrame(str(err)) from err
        return picture, (picture.shape[0], picture.shape[1])
    if not reaches_jpeg_end(data):
        raise BadFrame(f"a JPEG of {len(data)} bytes that is cut short")
    flag = _REDUCED.get(_divisor(full, want), cv2.IMREAD_COLOR)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as err:
        raise BadFrame("a JPEG that is damaged") from err
    if pixels is None:
        raise BadFrame("a JPEG that is damaged")
    picture = np.asarray(pixels, np.uint8)
    turned = (picture.shape[0] > picture.shape[1]) != (full[0] > full[1])
    return picture, (full[::-1] if turned else full)


def _full_size(data: bytes) -> tuple[int, int]:
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except Exception as err:  # a header that is damaged can make it raise anything
        raise BadFrame("a picture with a damaged header") from err
    if width < 1 or height < 1:
        raise BadFrame(f"{len(data)} bytes that are no picture")
    if width * height > MOST_PIXELS:
        raise BadFrame(f"{width} x {height} pixels; at most {MOST_PIXELS // 10**6} megapixels are read")
    return height, width


def _divisor(full: tuple[int, int], want: tuple[int, int] | None) -> int:
    if want is not None:
        for divisor in _REDUCED:
            if -(-full[0] // divisor) >= want[0] and -(-full[1] // divisor) >= want[1]:
                return divisor
    return 1
