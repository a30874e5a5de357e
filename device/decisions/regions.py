"""A part of the picture."""

from __future__ import annotations

from device.cameras.spec import Region
from device.preprocess import Pixels


def crop(pixels: Pixels, region: Region) -> Pixels:
    """The part of a picture that a region names.

    Args:
        pixels: (height, width, 3) uint8, at least 1x1.
        region: fractions; what lies outside the picture is cut off.

    Returns:
        a view of at least one pixel; regions that touch share no pixel and leave none out.
    """
    height, width = pixels.shape[:2]
    top, bottom = _span(region.top, region.height, height)
    left, right = _span(region.left, region.width, width)
    return pixels[top:bottom, left:right]


def _span(start: float, length: float, side: int) -> tuple[int, int]:
    first = min(max(round(start * side), 0), side - 1)
    return first, min(max(round((start + length) * side), first + 1), side)
