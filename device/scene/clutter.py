"""What pictures are cluttered with: rough surfaces, leaves, windows, posters, writing."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from device.preprocess import Pixels

Colour = tuple[float, ...]

_BANK = (512, 896)
# cv2 draws at fractions of a pixel when coordinates are multiplied by 2**_SHIFT.
_SHIFT = 4


@lru_cache(maxsize=1)
def fractal() -> NDArray[np.float32]:
    """Cloud-like noise to cut pieces from: (512, 896) float32, mean 0, standard deviation 1, read-only.

    Value noise in octaves of halving strength (Perlin 1985, "An Image Synthesizer"), drawn once.
    """
    rng = np.random.default_rng(0)
    height, width = _BANK
    total = np.zeros(_BANK, np.float32)
    for octave in range(7):
        cells = rng.standard_normal((3 << octave, 5 << octave)).astype(np.float32)
        total += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC) * 0.62**octave
    total -= total.mean()
    total /= total.std()
    total.flags.writeable = False
    return total


def clouds(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """A random piece of ``fractal``, mirrored at random: (height, width) float32, read-only."""
    top = rng.integers(0, _BANK[0] - height + 1)
    left = rng.integers(0, _BANK[1] - width + 1)
    flip = rng.choice((-1, 1), 2)
    return fractal()[top : top + height, left : left + width][:: flip[0], :: flip[1]]


def roughen(region: Pixels, rng: np.random.Generator, strength: float) -> None:
    """Give a painted region a surface; ``strength`` is the standard deviation in grey levels."""
    height, width = region.shape[:2]
    grain = clouds(rng, height, width) * np.float32(strength)
    cv2.add(region, cv2.merge([grain] * 3), dst=region, dtype=cv2.CV_8U)


def gradient(region: Pixels, top: Colour, bottom: Colour) -> None:
    """Paint a region with a vertical run from one colour to another."""
    share = np.linspace(0, 1, region.shape[0], dtype=np.float32)[:, None, None]
    region[:] = np.asarray(top, np.float32) * (1 - share) + np.asarray(bottom, np.float32) * share


def shade(colour: Colour, rng: np.random.Generator, spread: float) -> Colour:
    """A colour near the given one: brightness and each channel vary by about ``spread`` grey levels."""
    moved = np.asarray(colour) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return tuple(np.clip(moved, 0, 255).tolist())


def any_colour(rng: np.random.Generator) -> Colour:
    """A random paint: rarely as vivid as a sign, as most paints are."""
    colour = rng.integers(10, 246, 3)
    dulled = colour.mean() + (colour - colour.mean()) * rng.uniform(0.1, 0.9)
    return tuple(dulled.tolist())


def leaves(canvas: Pixels, rng: np.random.Generator, centres: NDArray[np.float64], size: float, colour: Colour) -> None:
    """Scatter leaves; ``centres``: (n, 2) pixels, ``size``: length of a leaf in pixels."""
    angles = rng.uniform(0, 180, len(centres))
    lengths = np.maximum(rng.uniform(0.3, 0.6, len(centres)) * size, 1.0)
    lights = rng.normal(0, 26, len(centres))
    for (x, y), angle, length, light in zip(centres.tolist(), angles, lengths, lights, strict=True):
        place = (round(x * 2**_SHIFT), round(y * 2**_SHIFT))
        axes = (round(length * 2**_SHIFT), round(length * 0.45 * 2**_SHIFT))
        tint = tuple(min(255.0, max(0.0, channel + light)) for channel in colour)
        cv2.ellipse(canvas, place, axes, angle, 0, 360, tint, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def window(canvas: Pixels, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """A window with frame and cross bar; ``box``: left, top, width, height in pixels."""
    left, top, width, height = box
    frame = shade((225, 228, 230), rng, 18)
    glass = shade((92, 82, 70), rng, 26)
    cv2.rectangle(canvas, (left, top), (left + width, top + height), frame, cv2.FILLED)
    border = max(1, width // 10)
    for column in range(2):
        inner = left + border + column * (width - border) // 2
        corner = (inner + (width - 3 * border) // 2, top + height - border)
        cv2.rectangle(canvas, (inner, top + border), corner, shade(glass, rng, 10), cv2.FILLED)


def writing(canvas: Pixels, rng: np.random.Generator, box: tuple[int, int, int, int], colour: Colour) -> None:
    """Lines that look like print from afar; ``box``: left, top, width, height in pixels."""
    left, top, width, height = box
    pitch = int(rng.integers(3, 9))
    for line in range(top, top + height - pitch // 2, pitch):
        x = left
        end = left + round(width * rng.uniform(0.5, 1))
        while x < end:
            word = int(rng.integers(2, 5 + 2 * pitch))
            cv2.rectangle(canvas, (x, line), (min(x + word, end), line + pitch // 2 - 1), colour, cv2.FILLED)
            x += word + pitch // 2


def poster(canvas: Pixels, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """A poster or shop sign: ground, a few shapes, words; ``box``: left, top, width, height in pixels."""
    left, top, width, height = box
    ground, ink = any_colour(rng), any_colour(rng)
    cv2.rectangle(canvas, (left, top), (left + width, top + height), ground, cv2.FILLED)
    for _ in range(int(rng.integers(0, 4))):
        centre = (left + int(rng.integers(width)), top + int(rng.integers(height)))
        reach = int(rng.integers(2, 3 + min(width, height) // 4))
        colour = any_colour(rng)
        if rng.random() < 0.5:
            cv2.circle(canvas, centre, reach, colour, cv2.FILLED, cv2.LINE_AA)
        else:
            cv2.rectangle(canvas, centre, (centre[0] + reach, centre[1] + reach), colour, cv2.FILLED)
    word = "".join(chr(code) for code in rng.integers(65, 91, int(rng.integers(3, 8))))
    scale = width / (24 * len(word))
    cv2.putText(canvas, word, (left + 3, top + height // 3), 2, scale, ink, 1, cv2.LINE_AA)
    if height > 24:
        writing(canvas, rng, (left + 3, top + height // 2, width - 6, height // 2 - 3), ink)
