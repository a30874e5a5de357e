"""A canvas for signs in unit coordinates, and the few letters and digits that signs carry.

Everything is drawn far too large and averaged down, which is the anti-aliasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Point = tuple[float, float]
Path = Sequence[Point]

# RAL traffic colours as a camera sees them in daylight, BGR.
RED: Colour = (32, 20, 190)
BLUE: Colour = (152, 84, 8)
YELLOW: Colour = (12, 180, 244)
WHITE: Colour = (240, 240, 240)
BLACK: Colour = (24, 24, 24)
GREY: Colour = (120, 118, 116)

# Signs reach from -1 to 1; what is beyond keeps their edge smooth when they are warped.
_MARGIN = 1.03
_OVERSIZE = 3


class Canvas:
    """A transparent square to paint on; x grows to the right, y downwards, both from -1 to 1."""

    def __init__(self, side: int) -> None:
        """``side``: pixels of the finished picture."""
        self._side = side
        self._paint = np.zeros((side * _OVERSIZE, side * _OVERSIZE, 4), np.uint8)
        self._scale = side * _OVERSIZE / 2 / _MARGIN

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        place = self._pixels([centre])[0]
        cv2.circle(self._paint, place.tolist(), round(radius * self._scale), (*colour, 255), cv2.FILLED)

    def polygon(self, points: Path, colour: Colour) -> None:
        """Fill a polygon with sharp corners."""
        cv2.fillPoly(self._paint, [self._pixels(points)], (*colour, 255))

    def stroke(self, path: Path, width: float, colour: Colour, closed: bool = False) -> None:
        """Draw along a path with a round pen."""
        thickness = max(1, round(width * self._scale))
        cv2.polylines(self._paint, [self._pixels(path)], closed, (*colour, 255), thickness)

    def plate(self, sides: int, inradius: float, turn_deg: float, corner: float, colour: Colour) -> None:
        """Fill a regular polygon with rounded corners.

        Args:
            sides: how many.
            inradius: distance of the sides from the centre.
            turn_deg: direction of the first corner, clockwise from the right.
            corner: radius of the corners.
            colour: of the filling.
        """
        inner = regular(sides, inradius - corner, turn_deg)
        self.polygon(inner, colour)
        self.stroke(inner, 2 * corner, colour, closed=True)

    def finished(self) -> NDArray[np.uint8]:
        """The picture: (side, side, 4) uint8, BGR times coverage (premultiplied), then coverage."""
        return np.asarray(cv2.resize(self._paint, (self._side, self._side), interpolation=cv2.INTER_AREA))

    def _pixels(self, points: Path) -> NDArray[np.int32]:
        centre = self._paint.shape[0] / 2
        return np.round(np.asarray(points, np.float64) * self._scale + centre).astype(np.int32)


def regular(sides: int, inradius: float, turn_deg: float) -> list[Point]:
    """The corners of a regular polygon around the origin; see ``Canvas.plate``."""
    radius = inradius / cos(pi / sides)
    angles = [radians(turn_deg) + 2 * pi * corner / sides for corner in range(sides)]
    return [(radius * cos(angle), radius * sin(angle)) for angle in angles]


def arc(centre: Point, radii: Point, start_deg: float, end_deg: float) -> list[Point]:
    """Points on an ellipse from one angle to another, clockwise where the angle grows."""
    angles = np.radians(np.linspace(start_deg, end_deg, 33))
    return [(centre[0] + radii[0] * cos(angle), centre[1] + radii[1] * sin(angle)) for angle in angles]


def write(canvas: Canvas, text: str, centre: Point, height: float, pen: float, colour: Colour) -> None:
    """Write letters and digits, centred.

    Args:
        canvas: where.
        text: characters of ``0 1 3 O P S T``.
        centre: the middle of the text.
        height: of a character, from pen centre to pen centre.
        pen: width of the stroke.
        colour: of the stroke.
    """
    # DIN 1451, the lettering of European signs: characters half as wide as they are high.
    advance = 0.52 * height + 1.45 * pen
    left = centre[0] - advance * (len(text) - 1) / 2
    for place, character in enumerate(text):
        for path in _GLYPHS[character]:
            moved = [(left + place * advance + x * height, centre[1] + y * height) for x, y in path]
            canvas.stroke(moved, pen, colour)


_OVAL = [*arc((0, -0.22), (0.26, 0.28), 180, 360), *arc((0, 0.22), (0.26, 0.28), 0, 180), (-0.26, -0.22)]
_GLYPHS: dict[str, tuple[list[Point], ...]] = {
    "0": (_OVAL,),
    "O": (_OVAL,),
    "1": ([(-0.2, -0.28), (0.06, -0.5), (0.06, 0.5)],),
    "3": (
        [*arc((-0.02, -0.25), (0.25, 0.25), 200, 450), (-0.1, 0.0)],
        arc((-0.02, 0.25), (0.28, 0.25), -90, 160),
    ),
    "P": ([(-0.23, 0.5), (-0.23, -0.5), *arc((0.0, -0.22), (0.27, 0.28), -90, 90), (-0.23, 0.06)],),
    "S": (
        [
            *arc((0, -0.25), (0.24, 0.25), -25, -200),
            *arc((0, 0.25), (0.25, 0.25), -55, 155),
        ],
    ),
    "T": ([(-0.28, -0.5), (0.28, -0.5)], [(0, -0.5), (0, 0.5)]),
}
