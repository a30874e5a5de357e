"""From the scene to the picture: the light that falls on it, the lens, the sensor and the compression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import cos, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from device.preprocess import Pixels

# Light changes slowly over a picture: it is computed on this grid and enlarged.
_GRID = (36, 48)
_NOISE_BANK = 1280


@dataclass(frozen=True)
class Light:
    """The light in a scene. Lengths are fractions of the picture's sides.

    Attributes:
        exposure: gain, 1 leaves brightness as it was drawn.
        warmth: red gain over blue gain as a power of two; 0 neutral, positive towards evening.
        shadow: how much darker it is beyond the shadow's edge, 0..1.
        shadow_angle_deg: direction from light to shadow, clockwise from the right.
        shadow_offset: of the edge from the centre.
        glare: added light at the glare's centre, in grey levels.
        glare_x: centre of the glare.
        glare_y: centre of the glare.
    """

    exposure: float
    warmth: float
    shadow: float
    shadow_angle_deg: float
    shadow_offset: float
    glare: float
    glare_x: float
    glare_y: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Light:
        """Exposure is log-normal with 0.4 stops and a little dark; 35 % have a shadow, 15 % glare."""
        return cls(
            exposure=float(np.clip(2 ** rng.normal(-0.08, 0.4), 0.5, 1.7)),
            warmth=float(rng.normal(0, 0.22)),
            shadow=float(rng.uniform(0.25, 0.52)) if rng.random() < 0.35 else 0.0,
            shadow_angle_deg=float(rng.uniform(0, 360)),
            shadow_offset=float(rng.uniform(-0.3, 0.3)),
            glare=float(rng.uniform(50, 150)) if rng.random() < 0.15 else 0.0,
            glare_x=float(rng.uniform(0, 1)),
            glare_y=float(rng.uniform(0, 0.7)),
        )


@dataclass(frozen=True)
class Lens:
    """The camera. Lengths are fractions of the picture's short side.

    Attributes:
        defocus: standard deviation of the blur.
        motion: length of the motion blur.
        motion_angle_deg: its direction.
        noise: 1 is a webcam by daylight, 4 the same in a dim room.
        jpeg_quality: 1..100 as libjpeg means it.
        seed: of the noise.
    """

    defocus: float
    motion: float
    motion_angle_deg: float
    noise: float
    jpeg_quality: int
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, size: float) -> Lens:
        """Blur is uniform and in proportion to the sign's ``size``: what a person cannot read is no test.

        Noise is log-uniform from 0.5 to 4, the JPEG quality uniform from 40 to 95.
        """
        return cls(
            defocus=float(rng.uniform(0, 0.016) * size + 0.001),
            motion=float(rng.uniform(0.02, 0.07) * size) if rng.random() < 0.3 else 0.0,
            motion_angle_deg=float(rng.uniform(0, 180)),
            noise=float(2 ** rng.uniform(-1, 2)),
            jpeg_quality=int(rng.integers(40, 96)),
            seed=int(rng.integers(2**31)),
        )


def illuminate(canvas: Pixels, light: Light) -> Pixels:
    """Light a drawn scene; in and out (height, width, 3) uint8 BGR. What is too bright clips as in a sensor."""
    height, width = canvas.shape[:2]
    y, x = np.mgrid[0 : _GRID[0], 0 : _GRID[1]].astype(np.float32)
    x, y = (x + 0.5) / _GRID[1], (y + 0.5) / _GRID[0]
    # Vignetting: a fifth darker in the corners.
    gain = light.exposure * (1 - 0.4 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))
    if light.shadow:
        angle = radians(light.shadow_angle_deg)
        beyond = (x - 0.5) * cos(angle) + (y - 0.5) * sin(angle) - light.shadow_offset
        gain *= 1 - light.shadow / (1 + np.exp(-beyond * 40))
    balance = np.array([2 ** (-light.warmth / 2), 1, 2 ** (light.warmth / 2)], np.float32)
    gains = cv2.resize(gain[..., None] * balance, (width, height))
    lit = cv2.multiply(canvas, gains, dtype=cv2.CV_8U)
    if light.glare:
        distance = (x - light.glare_x) ** 2 + (y - light.glare_y) ** 2
        flare = (light.glare * np.exp(-distance * 9)).astype(np.uint8)
        lit = cv2.add(lit, cv2.resize(cv2.merge([flare] * 3), (width, height)))
    return np.asarray(lit)


def photograph(scene: Pixels, lens: Lens) -> Pixels:
    """Focus, shake, sense and compress; in and out (height, width, 3) uint8 BGR."""
    short = min(scene.shape[:2])
    if lens.defocus * short > 0.3:
        scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), lens.defocus * short))
    if lens.motion * short >= 1:
        scene = _smear(scene, lens.motion * short, lens.motion_angle_deg)
    sensed = _sense(scene, lens)
    _, data = cv2.imencode(".jpg", sensed, [cv2.IMWRITE_JPEG_QUALITY, lens.jpeg_quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def _smear(scene: Pixels, length: float, angle_deg: float) -> Pixels:
    # Three averages of the picture with itself, moved by 1/2, 1/4 and 1/8 of the way, are a box of eight taps at
    # the cost of three: a filter kernel of that length takes ten times as long.
    height, width = scene.shape[:2]
    for share in (0.5, 0.25, 0.125):
        dx, dy = length * share * cos(radians(angle_deg)), length * share * sin(radians(angle_deg))
        matrix = np.array([[1, 0, dx], [0, 1, dy]])
        moved = cv2.warpAffine(scene, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        scene = np.asarray(cv2.addWeighted(scene, 0.5, moved, 0.5, 0))
    return scene


def _sense(scene: Pixels, lens: Lens) -> Pixels:
    """Add shot noise, which grows with the root of the light, and read noise, which does not."""
    height, width = scene.shape[:2]
    levels = np.arange(256, dtype=np.float32)
    sigma = lens.noise * np.sqrt(0.018 * levels + 0.9)
    # The bank's unit is 1/32: eight bits hold four standard deviations.
    spread = cv2.LUT(scene, (sigma / 32).astype(np.float32))
    rng = np.random.default_rng([lens.seed, 4])
    grain = _noise(rng, height, width)
    return np.asarray(cv2.add(scene, cv2.multiply(spread, grain, dtype=cv2.CV_32F), dtype=cv2.CV_8U))


def _noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.int8]:
    bank = _noise_bank(max(height, _NOISE_BANK // 2), max(width, _NOISE_BANK))
    top = int(rng.integers(bank.shape[0] - height + 1))
    left = int(rng.integers(bank.shape[1] - width + 1))
    return bank[top : top + height, left : left + width]


@lru_cache(maxsize=1)
def _noise_bank(height: int, width: int) -> NDArray[np.int8]:
    normal = np.random.default_rng(0).standard_normal((height, width, 3), dtype=np.float32)
    return np.clip(normal * 32, -127, 127).astype(np.int8)
