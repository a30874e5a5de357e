"""Photo bytes or a camera frame to the model's input. The only preprocessing in the project.

Training's evaluation, calibration, the parity check and the board all call ``preprocess``; what it does is
data (``PreprocessSpec``) and travels in the bundle, so training and serving cannot differ.
"""

from __future__ import annotations

import io
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from device.contract import ColourOrder, Fit, Interpolation, PreprocessSpec
from device.errors import PhotoError

Pixels = NDArray[np.uint8]

PHOTO_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_FLAG = {Interpolation.AREA: cv2.INTER_AREA, Interpolation.LINEAR: cv2.INTER_LINEAR}
# 134 megapixels, 400 MB decoded: above any camera of our users and far below a decompression bomb.
_MOST_PIXELS = 2**27
_WHITE = 255
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
# Inside a scan 0xFF is always followed by 0x00 or a restart marker, 0xD0 to 0xD7; those and fill bytes do not count.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


def decode(data: bytes) -> Pixels:
    """Decode a photo as a viewer would show it: upright by its EXIF orientation, transparency over white.

    Args:
        data: the bytes of an image file; of an animation the first frame is taken.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        PhotoError: empty, cut short, not an image, or above 134 megapixels.
    """
    if not data:
        raise PhotoError("0 bytes; remove it or copy it again")
    if _is_cut_short(data):
        raise PhotoError("the file is cut short; copy it again")
    _check_size(data)
    encoded = np.frombuffer(data, np.uint8)
    try:
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        transparent = _with_alpha(encoded, data)
    except cv2.error as err:
        raise PhotoError("the picture is damaged; remove it or copy it again") from err
    if transparent is not None:
        return _over_white(transparent)
    if picture is None:
        raise PhotoError("not a photo that can be read; convert it to JPEG or PNG")
    return picture  # type: ignore[return-value]


def preprocess(picture: Pixels, spec: PreprocessSpec, order: ColourOrder = ColourOrder.BGR) -> Pixels:
    """Crop or pad and resize a picture to the model's input.

    Args:
        picture: (height, width, 3) uint8 in ``order``, any size from 1x1.
        spec: the bundle's preprocessing.
        order: the colour order of ``picture``; OpenCV and most cameras give BGR.

    Returns:
        (spec.height, spec.width, 3) uint8, contiguous, in ``spec.colour_order``.

    Raises:
        PhotoError: the picture has another shape or dtype.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise PhotoError(f"a picture of shape {picture.shape} {picture.dtype} came; expected (height, width, 3) uint8")
    if spec.fit is Fit.CENTRE_CROP:
        picture = _centre_crop(picture, spec.height / spec.width)
    if spec.fit is Fit.LETTERBOX:
        fill = spec.fill if order is spec.colour_order else spec.fill[::-1]
        resized = _letterbox(picture, spec, fill)
    else:
        resized = _resize(picture, spec.height, spec.width, spec.interpolation)
    # Colours last: the small picture is cheaper to convert than the camera's.
    if order is not spec.colour_order:
        return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
    return np.ascontiguousarray(resized)


def preprocess_bytes(data: bytes, spec: PreprocessSpec) -> Pixels:
    """``decode`` and ``preprocess`` in one call, for photos on disk."""
    return preprocess(decode(data), spec)


def _check_size(data: bytes) -> None:
    # What the header claims, before OpenCV allocates it. The import brings an HTTP client along, which a camera
    # that sends no photos need not wait for.
    import imagesize

    try:
        width, height = imagesize.get(io.BytesIO(data))
    except Exception as err:  # a header that is damaged can make it raise anything
        raise PhotoError("the picture's header is damaged; remove it or copy it again") from err
    if width * height > _MOST_PIXELS:
        raise PhotoError(
            f"{width} x {height} pixels; at most {_MOST_PIXELS // 10**6} megapixels are read: scale it down"
        )


def _is_cut_short(data: bytes) -> bool:
    # OpenCV fills what is missing with grey and says nothing.
    if data.startswith(_JPEG_START):
        return not reaches_jpeg_end(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in data
    return False


def reaches_jpeg_end(data: bytes) -> bool:
    # From segment to segment: a thumbnail inside one has an end of its own, and phones append a film after the end.
    position = len(_JPEG_START)
    while marker := _JPEG_MARKER.search(data, position):
        if marker[0] == _JPEG_END:
            return True
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return False


def _with_alpha(encoded: NDArray[np.uint8], data: bytes) -> NDArray[np.generic] | None:
    # IMREAD_COLOR drops alpha and shows whatever colour lies under it. Only these two formats carry it here.
    if not (_is_png_with_alpha(data) or data[8:12] == b"WEBP"):
        return None
    picture = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    return picture if picture is not None and picture.ndim == 3 and picture.shape[2] == 4 else None


def _is_png_with_alpha(data: bytes) -> bool:
    # Byte 25 is the colour type, its bit 2 says alpha; a palette or one colour can be transparent by a tRNS chunk.
    return data.startswith(b"\x89PNG") and len(data) > 25 and (bool(data[25] & 4) or b"tRNS" in data)


def _over_white(picture: NDArray[np.generic]) -> Pixels:
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)  # type: ignore[operator]
    alpha = picture[..., 3:].astype(np.float32) / 255.0
    blended = picture[..., :3].astype(np.float32) * alpha + _WHITE * (1.0 - alpha)
    whole: Pixels = blended.round().astype(np.uint8)
    return whole


def _centre_crop(picture: Pixels, aspect: float) -> Pixels:
    height, width = picture.shape[:2]
    crop_height = max(1, min(height, round(width * aspect)))
    crop_width = max(1, min(width, round(height / aspect)))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return picture[top : top + crop_height, left : left + crop_width]


def _letterbox(picture: Pixels, spec: PreprocessSpec, fill: tuple[int, ...]) -> Pixels:
    height, width = picture.shape[:2]
    scale = min(spec.height / height, spec.width / width)
    inner_height = max(1, min(spec.height, round(height * scale)))
    inner_width = max(1, min(spec.width, round(width * scale)))
    canvas = np.empty((spec.height, spec.width, 3), np.uint8)
    canvas[:] = fill
    top, left = (spec.height - inner_height) // 2, (spec.width - inner_width) // 2
    inner = _resize(picture, inner_height, inner_width, spec.interpolation)
    canvas[top : top + inner_height, left : left + inner_width] = inner
    return canvas


def _resize(picture: Pixels, height: int, width: int, interpolation: Interpolation) -> Pixels:
    if picture.shape[:2] == (height, width):
        return picture
    if interpolation is Interpolation.AREA:
        picture = _shrink_by_whole_factor(picture, height, width)
        interpolation = Interpolation.LINEAR
    return cv2.resize(picture, (width, height), interpolation=_FLAG[interpolation])  # type: ignore[return-value]


def _shrink_by_whole_factor(picture: Pixels, height: int, width: int) -> Pixels:
    # OpenCV averages over whole factors in vector code and over broken ones in scalar code (0.1 against 1.05 ms
    # for 480 to 224). The rest, less than two, is bilinear.
    down, across = picture.shape[0] // height, picture.shape[1] // width
    if down < 2 and across < 2:
        return picture
    down, across = max(down, 1), max(across, 1)
    rows, columns = picture.shape[0] // down, picture.shape[1] // across
    # The remainder is trimmed on both sides, or the picture would shift by a fraction of a pixel.
    top, left = (picture.shape[0] - rows * down) // 2, (picture.shape[1] - columns * across) // 2
    whole = picture[top : top + rows * down, left : left + columns * across]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
