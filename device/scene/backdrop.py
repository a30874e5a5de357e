"""What is behind the sign: a street, a facade, a hedge or a room, with things in it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from device.preprocess import Pixels
from device.scene.clutter import Colour, any_colour, clouds, gradient, leaves, poster, roughen, shade, window, writing

# Wider than any window of it that a camera sees, so that it can pan.
HEIGHT, WIDTH = 288, 512

_GREENS: tuple[Colour, ...] = ((40, 92, 62), (34, 110, 96), (44, 72, 58), (30, 84, 120), (60, 120, 88))
_WALLS: tuple[Colour, ...] = (
    (150, 170, 190), (96, 118, 160), (190, 200, 205), (120, 125, 128), (140, 190, 215), (84, 92, 134),
)  # fmt: skip
_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((205, 140, 80), (235, 215, 190)),
    ((200, 195, 188), (226, 224, 222)),
    ((150, 120, 110), (140, 180, 235)),
    ((160, 152, 146), (190, 186, 182)),
)


# One that a moving camera looks at, and the next.
@lru_cache(maxsize=2)
def backdrop(seed: int) -> Pixels:
    """Draw a backdrop.

    Args:
        seed: which; half are streets, a quarter facades, the rest hedges and rooms.

    Returns:
        (HEIGHT, WIDTH, 3) uint8, BGR, read-only.
    """
    rng = np.random.default_rng([seed, 1])
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    place = rng.choice(4, p=(0.5, 0.25, 0.12, 0.13))
    (_street, _facade, _hedge, _room)[place](canvas, rng)
    for _ in range(int(rng.integers(0, 5))):
        _thing(canvas, rng)
    # Sharp or slightly out of focus, as the lens is set on the sign and not on what is behind.
    canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.8)))
    canvas.flags.writeable = False
    return canvas


def _street(canvas: Pixels, rng: np.random.Generator) -> None:
    horizon = int(rng.uniform(0.42, 0.68) * HEIGHT)
    _sky(canvas[:horizon], rng)
    gradient(canvas[horizon:], shade((96, 112, 108), rng, 14), shade((62, 98, 88), rng, 16))
    if rng.random() < 0.65:
        _houses(canvas, rng, horizon)
    _trees(canvas, rng, horizon)
    _road(canvas, rng, horizon)
    roughen(canvas[horizon:], rng, 9)


def _sky(region: Pixels, rng: np.random.Generator) -> None:
    top, bottom = _SKIES[rng.integers(len(_SKIES))]
    gradient(region, shade(top, rng, 12), shade(bottom, rng, 8))
    height, width = region.shape[:2]
    cover = np.clip(clouds(rng, height, width) * 0.5 - rng.uniform(-0.3, 0.5), 0, 0.8) * np.float32(90)
    cv2.add(region, cv2.merge([cover] * 3), dst=region, dtype=cv2.CV_8U)


def _houses(canvas: Pixels, rng: np.random.Generator, horizon: int) -> None:
    left = -int(rng.integers(0, 60))
    while left < WIDTH:
        width, height = int(rng.integers(50, 130)), int(rng.integers(50, 150))
        if rng.random() < 0.8:
            _house(canvas, rng, (left, horizon - height, width, height + 6))
        left += width + int(rng.integers(0, 50))


def _house(canvas: Pixels, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    left, top, width, height = box
    wall = shade(_WALLS[rng.integers(len(_WALLS))], rng, 14)
    cv2.rectangle(canvas, (left, top), (left + width, top + height), wall, cv2.FILLED)
    roof = shade((62, 66, 104), rng, 18)
    if rng.random() < 0.6:
        peak = top - int(rng.integers(12, 40))
        outline = np.array([(left - 4, top), (left + width // 2, peak), (left + width + 4, top)])
        cv2.fillPoly(canvas, [outline], roof, cv2.LINE_AA)
    size, pitch = int(rng.integers(8, 14)), int(rng.integers(20, 30))
    for y in range(top + 8, top + height - pitch, pitch):
        for x in range(left + 8, left + width - size - 4, pitch):
            window(canvas, rng, (x, y, size, round(size * 1.3)))


def _trees(canvas: Pixels, rng: np.random.Generator, horizon: int) -> None:
    for _ in range(int(rng.integers(1, 6))):
        x, reach = rng.uniform(0, WIDTH), rng.uniform(18, 60)
        middle = horizon - reach * rng.uniform(0.5, 1.3)
        green = shade(_GREENS[rng.integers(len(_GREENS))], rng, 10)
        bark = shade((50, 62, 74), rng, 10)
        cv2.line(canvas, (int(x), horizon + 4), (int(x), int(middle)), bark, max(2, int(reach / 9)), cv2.LINE_AA)
        centres = rng.normal((x, middle), reach * 0.42, (90, 2))
        leaves(canvas, rng, centres, reach * 0.32, green)


def _road(canvas: Pixels, rng: np.random.Generator, horizon: int) -> None:
    vanish = rng.uniform(0.25, 0.75) * WIDTH
    left, right = rng.uniform(-0.5, 0.25) * WIDTH, rng.uniform(0.75, 1.5) * WIDTH
    tar = shade((96, 94, 92), rng, 16)
    edges = np.array([(vanish - 4, horizon), (vanish + 4, horizon), (right, HEIGHT), (left, HEIGHT)], np.int32)
    cv2.fillPoly(canvas, [edges], tar, cv2.LINE_AA)
    paint = shade((205, 208, 208), rng, 16)
    middle = (left + right) / 2
    depth = HEIGHT - horizon
    for near in (0.08, 0.16, 0.28, 0.45, 0.7, 1.05):
        far = near * 0.78
        ends = [(vanish + (middle - vanish) * share, horizon + depth * share) for share in (far, near)]
        (x0, y0), (x1, y1) = ends
        half = 5 * near
        dash = np.array([(x0 - half * 0.8, y0), (x0 + half * 0.8, y0), (x1 + half, y1), (x1 - half, y1)], np.int32)
        cv2.fillPoly(canvas, [dash], paint, cv2.LINE_AA)


def _facade(canvas: Pixels, rng: np.random.Generator) -> None:
    wall = _WALLS[rng.integers(len(_WALLS))]
    gradient(canvas, shade(wall, rng, 16), shade(wall, rng, 16))
    if rng.random() < 0.6:
        _bricks(canvas, rng, wall)
    roughen(canvas, rng, rng.uniform(4, 14))
    size = int(rng.integers(36, 70))
    top = int(rng.integers(-30, 60))
    for x in range(int(rng.integers(0, 60)), WIDTH, size + int(rng.integers(30, 110))):
        if rng.random() < 0.7:
            window(canvas, rng, (x, top, size, round(size * 1.4)))
    for _ in range(int(rng.integers(0, 4))):
        box = (int(rng.integers(WIDTH)), int(rng.integers(HEIGHT)), *rng.integers(30, 90, 2).tolist())
        poster(canvas, rng, box)


def _bricks(canvas: Pixels, rng: np.random.Generator, wall: Colour) -> None:
    height = int(rng.integers(8, 20))
    width = int(height * rng.uniform(1.8, 2.8))
    mortar = shade(wall, rng, 26)
    for row, y in enumerate(range(0, HEIGHT, height)):
        tint = shade(wall, rng, 7)
        cv2.rectangle(canvas, (0, y), (WIDTH, y + height), tint, cv2.FILLED)
        cv2.line(canvas, (0, y), (WIDTH, y), mortar, 1)
        for x in range(width // 2 * (row % 2), WIDTH, width):
            cv2.line(canvas, (x, y), (x, y + height), mortar, 1)


def _hedge(canvas: Pixels, rng: np.random.Generator) -> None:
    green = _GREENS[rng.integers(len(_GREENS))]
    gradient(canvas, shade((24, 40, 34), rng, 10), shade((18, 30, 26), rng, 8))
    for size, count in ((34, 110), (22, 220), (13, 260)):
        centres = rng.uniform((0, 0), (WIDTH, HEIGHT), (count, 2))
        leaves(canvas, rng, centres, size, shade(green, rng, 14))


def _room(canvas: Pixels, rng: np.random.Generator) -> None:
    edge = int(rng.uniform(0.5, 0.8) * HEIGHT)
    wall = shade((188, 196, 200), rng, 26)
    gradient(canvas[:edge], wall, shade(wall, rng, 14))
    gradient(canvas[edge:], shade((82, 120, 160), rng, 24), shade((66, 96, 132), rng, 24))
    roughen(canvas, rng, 5)
    for shelf in rng.integers(30, edge, int(rng.integers(1, 3))).tolist():
        cv2.rectangle(canvas, (0, shelf), (WIDTH, shelf + 6), shade((90, 120, 150), rng, 20), cv2.FILLED)
        _row_of_things(canvas, rng, shelf)
    _row_of_things(canvas, rng, edge + int(rng.integers(0, 40)))


def _row_of_things(canvas: Pixels, rng: np.random.Generator, floor: int) -> None:
    x = int(rng.integers(0, 30))
    while x < WIDTH:
        width, height = int(rng.integers(6, 44)), int(rng.integers(14, 64))
        box = (x, floor - height, width, height)
        colour = any_colour(rng)
        cv2.rectangle(canvas, (x, floor - height), (x + width, floor), colour, cv2.FILLED)
        if width > 20 and rng.random() < 0.5:
            writing(canvas, rng, (x + 3, box[1] + 4, width - 6, height // 2), shade(colour, rng, 60))
        x += width + int(rng.integers(0, 26))


def _thing(canvas: Pixels, rng: np.random.Generator) -> None:
    x, y = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
    reach = int(rng.integers(5, 26))
    colour = any_colour(rng)
    kind = rng.integers(5)
    if kind == 0:
        cv2.circle(canvas, (x, y), reach, colour, cv2.FILLED, cv2.LINE_AA)
    elif kind == 1:
        cv2.circle(canvas, (x, y), reach, colour, max(2, reach // 4), cv2.LINE_AA)
    elif kind == 2:
        poster(canvas, rng, (x, y, reach * 3, reach * 2))
    elif kind == 3:
        far = (x + int(rng.integers(-200, 200)), y + int(rng.integers(-60, 60)))
        cv2.line(canvas, (x, y), far, shade((50, 50, 50), rng, 30), int(rng.integers(1, 4)), cv2.LINE_AA)
    else:
        pole = shade((130, 130, 128), rng, 30)
        cv2.line(canvas, (x, y), (x, HEIGHT), pole, int(rng.integers(3, 9)), cv2.LINE_AA)
