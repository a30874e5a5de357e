"""Which test photos are worth a look, and small pictures of them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dataset import printable
from pipeline.report.inputs import Example, Examples

# (n, height, width, 3) uint8 RGB and (n,) classes -> (n, height, width) float32, 0 to 1; see ``pipeline.explain``.
# None for a network that keeps no places.
HeatmapsOf = Callable[[NDArray[np.uint8], NDArray[np.int64]], NDArray[np.float32] | None]

_SIDE = 160
_JPEG_QUALITY = 82


def choose_examples(
    pixels: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    files: Sequence[str],
    heatmaps_of: HeatmapsOf | None = None,
    count: int = 12,
) -> Examples:
    """The most confident wrong answers, and of all other photos the least certain answers.

    Args:
        pixels: (n, height, width, 3) uint8 RGB.
        probabilities: (n, classes) float32, calibrated.
        labels: (n,) integers.
        classes: names by label.
        files: (n,) paths relative to the data folder.
        heatmaps_of: explains answers; called once, with the chosen photos only. None leaves the heat out.
        count: photos of each kind, at most.
    """
    answers, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(answers != labels)
    mistakes = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    others = np.setdiff1d(np.arange(len(labels)), mistakes)
    uncertain = others[np.argsort(confidence[others], kind="stable")][:count]
    chosen = np.concatenate([mistakes, uncertain])
    heats = heatmaps_of(pixels[chosen], answers[chosen]) if heatmaps_of and len(chosen) else None
    examples = tuple(
        Example(
            pixels=pixels[index],
            heat=heat,
            truth=classes[int(labels[index])],
            answer=classes[int(answers[index])],
            probability=float(confidence[index]),
            file=printable(files[int(index)]),
        )
        for index, heat in zip(chosen, [None] * len(chosen) if heats is None else heats, strict=True)
    )
    return Examples(examples[: len(mistakes)], examples[len(mistakes) :])


def thumbnail(pixels: NDArray[np.uint8]) -> str:
    """A ``data:`` address of a JPEG of at most 160 pixels a side, from (height, width, 3) uint8 RGB."""
    shrink = min(1.0, _SIDE / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else pixels
    encoded = cv2.imencode(".jpg", small[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
