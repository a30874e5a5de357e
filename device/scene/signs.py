"""European traffic signs (Vienna Convention on Road Signs and Signals, 1968) as vector art.

``SIGNS`` are to be recognised. ``DECOYS`` hang on poles as well and must not be: other signs, a plain disc,
a poster.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import cos, radians, sin

import cv2
import numpy as np

from device.preprocess import Pixels
from device.scene.ink import BLACK, BLUE, GREY, RED, WHITE, YELLOW, Canvas, Colour, Point, arc, write

NOTHING = "nothing"

# The sides that art is kept at: a large picture warped to a small one at one go aliases.
_SIDES = (48, 96, 192, 384)


def art_side(diameter: float) -> int:
    """The side of the art to warp to a sign of that diameter: the next larger that there is, in pixels."""
    return next((side for side in _SIDES if side >= diameter), _SIDES[-1])


@lru_cache(maxsize=128)
def art(name: str, side: int) -> Pixels:
    """The picture of a sign or decoy.

    Args:
        name: one of ``SIGNS`` or ``DECOYS``.
        side: what ``art_side`` gave.

    Returns:
        (side, side, 4) uint8, read-only: BGR times coverage (premultiplied), then coverage.

    Raises:
        KeyError: no such sign or decoy.
    """
    if side < _SIDES[-1]:
        larger = art(name, side * 2)
        picture = np.asarray(cv2.resize(larger, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    else:
        canvas = Canvas(side)
        _ART[name](canvas)
        picture = canvas.finished()
    picture.flags.writeable = False
    return picture


def _stop(canvas: Canvas) -> None:
    canvas.plate(8, 0.95, 22.5, 0.06, WHITE)
    canvas.plate(8, 0.87, 22.5, 0.04, RED)
    write(canvas, "STOP", (0, 0), 0.48, 0.115, WHITE)


def _yield(canvas: Canvas) -> None:
    canvas.plate(3, 0.56, 90, 0.1, WHITE)
    canvas.plate(3, 0.535, 90, 0.08, RED)
    canvas.plate(3, 0.31, 90, 0.03, WHITE)


def _no_entry(canvas: Canvas) -> None:
    canvas.disc((0, 0), 1.0, WHITE)
    canvas.disc((0, 0), 0.95, RED)
    canvas.polygon([(-0.72, -0.17), (0.72, -0.17), (0.72, 0.17), (-0.72, 0.17)], WHITE)


def _speed(number: str, height: float, pen: float) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        _ring(canvas, WHITE)
        write(canvas, number, (0, 0), height, pen, BLACK)

    return draw


def _priority_road(canvas: Canvas) -> None:
    canvas.plate(4, 0.74, 0, 0.1, BLACK)
    canvas.plate(4, 0.72, 0, 0.09, WHITE)
    canvas.plate(4, 0.54, 0, 0.05, BLACK)
    canvas.plate(4, 0.52, 0, 0.04, YELLOW)


def _roundabout(canvas: Canvas) -> None:
    _blue_disc(canvas)
    for start in (10, 130, 250):
        _bent_arrow(canvas, start, start - 72)


def _bent_arrow(canvas: Canvas, start_deg: float, end_deg: float) -> None:
    # Against the clock, as traffic on the right goes round.
    radius, half_width, half_head, head_deg = 0.53, 0.1, 0.23, 34
    outer = arc((0, 0), (radius + half_width, radius + half_width), start_deg, end_deg)
    inner = arc((0, 0), (radius - half_width, radius - half_width), end_deg, start_deg)
    canvas.polygon([*outer, *inner], WHITE)
    wings = [_polar(radius + half_head, end_deg), _polar(radius - half_head, end_deg)]
    canvas.polygon([*wings, _polar(radius, end_deg - head_deg)], WHITE)


def _polar(radius: float, angle_deg: float) -> Point:
    return radius * cos(radians(angle_deg)), radius * sin(radians(angle_deg))


def _crosswalk(canvas: Canvas) -> None:
    canvas.plate(4, 0.86, 45, 0.08, WHITE)
    canvas.plate(4, 0.82, 45, 0.06, BLUE)
    canvas.polygon([(0, -0.72), (0.74, 0.6), (-0.74, 0.6)], WHITE)
    for left in (-0.5, -0.2, 0.1, 0.4):
        canvas.polygon([(left, 0.42), (left + 0.14, 0.42), (left + 0.1, 0.56), (left - 0.08, 0.56)], BLACK)
    _walker(canvas)


def _walker(canvas: Canvas) -> None:
    canvas.disc((0.02, -0.36), 0.085, BLACK)
    canvas.stroke([(0.02, -0.2), (0.0, 0.04)], 0.17, BLACK)
    canvas.stroke([(0.02, 0.06), (-0.1, 0.22), (-0.2, 0.42)], 0.095, BLACK)
    canvas.stroke([(0.0, 0.06), (0.11, 0.22), (0.2, 0.4)], 0.095, BLACK)
    canvas.stroke([(0.03, -0.2), (-0.13, -0.08), (-0.19, 0.06)], 0.065, BLACK)
    canvas.stroke([(0.03, -0.2), (0.14, -0.06), (0.23, 0.02)], 0.065, BLACK)


def _warning(canvas: Canvas) -> None:
    canvas.plate(3, 0.56, 270, 0.1, WHITE)
    canvas.plate(3, 0.535, 270, 0.08, RED)
    canvas.plate(3, 0.36, 270, 0.03, WHITE)
    canvas.polygon([(-0.09, -0.42), (0.09, -0.42), (0.05, 0.04), (-0.05, 0.04)], BLACK)
    canvas.disc((0, 0.18), 0.085, BLACK)


def _parking(canvas: Canvas) -> None:
    canvas.plate(4, 0.86, 45, 0.08, WHITE)
    canvas.plate(4, 0.82, 45, 0.06, BLUE)
    write(canvas, "P", (0.03, 0), 0.95, 0.24, WHITE)


def _no_parking(canvas: Canvas) -> None:
    _ring(canvas, BLUE)
    canvas.stroke([(-0.58, -0.58), (0.58, 0.58)], 0.17, RED)


def _ahead_only(canvas: Canvas) -> None:
    _blue_disc(canvas)
    canvas.polygon([(-0.13, 0.68), (0.13, 0.68), (0.13, -0.1), (-0.13, -0.1)], WHITE)
    canvas.polygon([(-0.42, -0.06), (0, -0.72), (0.42, -0.06)], WHITE)


def _end_of_limits(canvas: Canvas) -> None:
    canvas.disc((0, 0), 1.0, BLACK)
    canvas.disc((0, 0), 0.97, WHITE)
    for offset in (-0.24, -0.08, 0.08, 0.24):
        reach = 0.62 - abs(offset) / 4
        canvas.stroke([(offset - reach, offset + reach), (offset + reach, offset - reach)], 0.05, BLACK)


def _disc(colour: Colour) -> Callable[[Canvas], None]:
    return lambda canvas: canvas.disc((0, 0), 1.0, colour)


def _poster(canvas: Canvas) -> None:
    canvas.plate(4, 0.86, 45, 0.02, WHITE)
    canvas.polygon([(-0.78, -0.78), (0.78, -0.78), (0.78, -0.3), (-0.78, 0.1)], RED)
    canvas.disc((0.3, -0.1), 0.3, YELLOW)
    for top, right in ((0.3, 0.7), (0.45, 0.5), (0.6, 0.62)):
        canvas.polygon([(-0.7, top), (right, top), (right, top + 0.07), (-0.7, top + 0.07)], BLACK)


def _back(canvas: Canvas) -> None:
    canvas.disc((0, 0), 1.0, GREY)
    canvas.disc((0, 0), 0.96, (150, 148, 146))
    for height in (-0.4, 0.4):
        canvas.stroke([(-0.75, height), (0.75, height)], 0.08, GREY)


def _ring(canvas: Canvas, inside: Colour) -> None:
    canvas.disc((0, 0), 1.0, WHITE)
    canvas.disc((0, 0), 0.975, RED)
    canvas.disc((0, 0), 0.77, inside)


def _blue_disc(canvas: Canvas) -> None:
    canvas.disc((0, 0), 1.0, WHITE)
    canvas.disc((0, 0), 0.95, BLUE)


_SIGN_ART: dict[str, Callable[[Canvas], None]] = {
    "crosswalk": _crosswalk,
    "no_entry": _no_entry,
    "priority_road": _priority_road,
    "roundabout": _roundabout,
    # Not 30 and 50: trained with some 50 photos of each, EfficientNet-Lite0 mistook 14 of 50 new ones.
    "speed_100": _speed("100", 0.54, 0.11),
    "speed_30": _speed("30", 0.76, 0.155),
    "stop": _stop,
    "yield": _yield,
}
_DECOY_ART: dict[str, Callable[[Canvas], None]] = {
    "ahead_only": _ahead_only,
    "back_of_a_sign": _back,
    "blue_disc": _disc(BLUE),
    "end_of_limits": _end_of_limits,
    "no_parking": _no_parking,
    "parking": _parking,
    "poster": _poster,
    "red_disc": _disc(RED),
    "warning": _warning,
}
_ART = _SIGN_ART | _DECOY_ART

SIGNS: tuple[str, ...] = tuple(_SIGN_ART)
DECOYS: tuple[str, ...] = tuple(_DECOY_ART)
CLASSES: tuple[str, ...] = tuple(sorted((*SIGNS, NOTHING)))
