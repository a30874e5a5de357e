"""What a picture is like, whatever it shows: how bright, how sharp. The same code on workstation and board."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from device.contract import Spread, TrainingStatistics
from device.preprocess import Pixels

# Side of the thumbnail that tells where things are.
THUMBNAIL = 32
_DARK, _BRIGHT = 16, 250
# Mean square of the Laplacian (1, 1, -4, 1, 1) of what rounding to whole numbers adds: 20 / 12.
_ROUNDING = 20 / 12
_QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True, eq=False)
class PictureStatistics:
    """Of one picture.

    Attributes:
        brightness: mean luma, 0 to 1.
        contrast: standard deviation of luma, 0 to 0.5.
        sharpness: energy of the Laplacian against that of the picture at a quarter of its size, 0 to 1: it falls with
            blur, and hardly changes with light.
        saturation: mean of the difference between the largest and the smallest channel, 0 to 1.
        dark: share of pixels under 16 of 255.
        bright: share of pixels from 250 on.
        thumbnail: (32, 32) float32, luma without its large shades, of zero mean and unit length; all zero for a
            picture of one shade.
    """

    brightness: float
    contrast: float
    sharpness: float
    saturation: float
    dark: float
    bright: float
    thumbnail: NDArray[np.float32]


NAMES = tuple(field.name for field in fields(PictureStatistics) if field.name != "thumbnail")


def picture_statistics(pixels: Pixels) -> PictureStatistics:
    """Look at a picture; 0.2 ms at 224 x 224.

    Args:
        pixels: (height, width, 3) uint8, as the model gets them; the order of colours hardly matters.
    """
    luma: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    mean, deviation = cv2.meanStdDev(luma)
    red, green, blue = cv2.split(pixels)
    largest, smallest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    counts = cv2.calcHist([luma], [0], None, [256], [0, 256])
    return PictureStatistics(
        brightness=float(mean[0, 0]) / 255,
        contrast=float(deviation[0, 0]) / 255,
        sharpness=_sharpness(luma),
        saturation=(cv2.mean(largest)[0] - cv2.mean(smallest)[0]) / 255,
        dark=float(counts[:_DARK].sum()) / luma.size,
        bright=float(counts[_BRIGHT:].sum()) / luma.size,
        thumbnail=_thumbnail(luma),
    )


def _sharpness(luma: Pixels) -> float:
    # The finest octave against a coarse one: how steep edges are, not how many there are.
    quarter = (max(1, luma.shape[1] // 4), max(1, luma.shape[0] // 4))
    fine = max(0.0, _roughness(luma) - _ROUNDING)
    small: Pixels = cv2.resize(luma, quarter, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    coarse = _roughness(small)
    return fine / (fine + coarse) if coarse > 0 else 0.0


def _roughness(luma: Pixels) -> float:
    return float(cv2.norm(cv2.Laplacian(luma, cv2.CV_16S), cv2.NORM_L2SQR)) / luma.size


def _thumbnail(luma: Pixels) -> NDArray[np.float32]:
    small = cv2.resize(luma, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    # Shadows and the light of the day are large; what stands in the room has edges.
    return unit_length(small - cv2.GaussianBlur(small, (0, 0), THUMBNAIL / 8))


def unit_length(thumbnail: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same picture with zero mean and unit length, so that the product of two is their correlation."""
    centred = thumbnail - thumbnail.mean()
    length = float(np.linalg.norm(centred))
    scaled: NDArray[np.float32] = (centred / length if length > 1e-6 else np.zeros_like(centred)).astype(np.float32)
    return scaled


def summarise(
    photos: Iterable[Pixels], probabilities: NDArray[np.float32], unknown_threshold: float
) -> TrainingStatistics:
    """Put the statistics of a training together.

    Args:
        photos: of the training split, (height, width, 3) uint8 each, preprocessed as the board does; a sample of some
            hundreds is enough.
        probabilities: (n, classes) float32 on validation photos, calibrated.
        unknown_threshold: under which an answer is unknown.

    Raises:
        ValueError: no photos.
    """
    looked = [picture_statistics(photo) for photo in photos]
    if not looked or not len(probabilities):
        raise ValueError("statistics of no photos")
    table = {name: np.array([getattr(each, name) for each in looked]) for name in NAMES}
    largest = probabilities.max(axis=1)
    return TrainingStatistics(
        photos=len(looked),
        **{name: _spread(values) for name, values in table.items()},
        mean_probability=round(min(1.0, float(largest.mean())), 6),
        unknown_share=round(float((largest < unknown_threshold).mean()), 6),
    )


def _spread(values: NDArray[np.float64]) -> Spread:
    first, second, middle, fourth, last = (round(float(value), 6) for value in np.quantile(values, _QUANTILES))
    return Spread(mean=round(float(values.mean()), 6), quantiles=(first, second, middle, fourth, last))
