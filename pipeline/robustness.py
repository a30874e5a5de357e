"""How accuracy falls as photos get worse: five kinds of damage in five strengths each.

The idea of the table is that of Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations"; kinds and units are chosen for what a camera at the edge meets, so that a reader can
compare them with the place where theirs will hang.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Predict = Callable[[Pixels], NDArray[np.float32]]

MOST_PHOTOS = 150
# Cameras and screens store light to the power of about 1 / 2.2 (sRGB).
_GAMMA = 2.2


class Damage(Enum):
    """What happens to a photo."""

    BLUR = "blur"
    NOISE = "noise"
    DARK = "dark"
    ROTATION = "rotation"
    JPEG = "jpeg"


# Mild to severe. A value's meaning is in ``UNITS``.
STRENGTHS: dict[Damage, tuple[float, ...]] = {
    Damage.BLUR: (0.5, 1, 1.5, 2, 3),
    Damage.NOISE: (5, 10, 20, 35, 55),
    Damage.DARK: (0.5, 1, 2, 3, 4),
    Damage.ROTATION: (5, 10, 20, 30, 45),
    Damage.JPEG: (50, 30, 20, 10, 5),
}
UNITS: dict[Damage, str] = {
    Damage.BLUR: "Gaussian, sigma in % of the side",
    Damage.NOISE: "Gaussian, sigma in grey levels of 255",
    Damage.DARK: "stops less light",
    Damage.ROTATION: "degrees, half of the photos either way",
    Damage.JPEG: "JPEG quality",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """Accuracy, a fraction of ``n`` photos, at one strength."""

    strength: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of damage, mild to severe."""

    damage: Damage
    unit: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class RobustnessTable:
    """Accuracy of the same ``n`` photos undamaged and under each damage."""

    n: int
    clean: float
    rows: tuple[Row, ...]


def robustness_table(
    predict: Predict,
    pixels: Pixels,
    labels: NDArray[np.int64],
    seed: int = 0,
    most: int = MOST_PHOTOS,
    on_batch: Callable[[], None] = lambda: None,
) -> RobustnessTable:
    """Measure a classifier on damaged photos; the same call gives the same table.

    Args:
        predict: (n, height, width, 3) uint8 RGB -> (n, classes) float32.
        pixels: (n, height, width, 3) uint8 RGB as the model gets them, n at least 1.
        labels: (n,) integers.
        seed: of the noise and of the choice of photos.
        most: of more photos so many are taken, evenly over the classes.
        on_batch: called ``BATCHES`` times, after each set of photos.
    """
    chosen = evenly(labels, most, seed)
    pixels, labels = pixels[chosen], labels[chosen]

    def accuracy(photos: Pixels) -> float:
        share = float((predict(photos).argmax(axis=1) == labels).mean())
        on_batch()
        return share

    rows = tuple(
        Row(
            kind,
            UNITS[kind],
            tuple(Cell(value, accuracy(damaged(pixels, kind, value, seed)), len(labels)) for value in STRENGTHS[kind]),
        )
        for kind in Damage
    )
    return RobustnessTable(len(labels), accuracy(pixels), rows)


# Sets of photos that a table takes.
BATCHES = 1 + sum(len(values) for values in STRENGTHS.values())


def damaged(pixels: Pixels, damage: Damage, strength: float, seed: int = 0) -> Pixels:
    """Photos under one damage.

    Args:
        pixels: (n, height, width, 3) uint8 RGB.
        damage: the kind.
        strength: in the unit of ``UNITS``.
        seed: of the noise; photo i gets the same noise pattern at every strength.

    Returns:
        the same shape, uint8.
    """
    photos = [_damage_one(photo, damage, strength, (seed, index)) for index, photo in enumerate(pixels)]
    return np.asarray(photos, np.uint8)


def evenly(labels: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Indices, ascending, of at most ``most`` photos: every class by turns, at random within a class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    # The rank of a photo within its class: sorting by it takes one of each class, then another of each.
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        ranks[members] = np.arange(len(members))
    return np.sort(order[np.argsort(ranks[order], kind="stable")][:most])


def _damage_one(photo: Pixels, damage: Damage, strength: float, seed: tuple[int, int]) -> Any:
    height, width = photo.shape[:2]
    if damage is Damage.BLUR:
        return cv2.GaussianBlur(photo, (0, 0), strength / 100 * max(height, width), borderType=cv2.BORDER_REFLECT_101)
    if damage is Damage.NOISE:
        noise = np.random.default_rng(seed).standard_normal(photo.shape, np.float32)
        return np.clip(np.rint(photo + strength * noise), 0, 255).astype(np.uint8)
    if damage is Damage.DARK:
        # Half the light is a factor on the stored values, because they are light to a power.
        return np.rint(photo * 2 ** (-strength / _GAMMA)).astype(np.uint8)
    if damage is Damage.ROTATION:
        angle = strength if seed[1] % 2 else -strength
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        # Mirrored edges: black corners would be a damage of their own.
        return cv2.warpAffine(photo, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    encoded = cv2.imencode(".jpg", photo[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, int(strength)))[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]  # type: ignore[index]
