"""A sheet of what the network will see: photos, random views of them, and mixed pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.describe import describe, title
from pipeline.augmentation.mixing import mix
from pipeline.augmentation.sheet import Cell, Row, draw_sheet
from pipeline.augmentation.views import augment
from pipeline.errors import PipelineError

_MOST_ROWS = 12
_ROWS_WHEN_FEW = 6
_VIEWS = 6


def write_preview(
    path: Path,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    config: AugmentConfig,
    seed: int,
) -> None:
    """Write a PNG: one or two photos of each class (of up to twelve classes), each with random views.

    Args:
        path: of the PNG; its folder must exist.
        pixels: (n, H, W, 3) uint8 RGB, as the board would see the photos.
        labels: (n,) places in ``classes``.
        classes: names; OpenCV 5 draws most scripts, OpenCV 4 ASCII only (see ``sheet``).
        config: of the views.
        seed: of the views and of the choice of photos.

    Raises:
        PipelineError: no photos, or the file cannot be written.
    """
    chosen = _choose(labels, seed)
    if not len(chosen):
        raise PipelineError(f"{path}: no photos to show; expected one or more of any class")
    photos, names = pixels[chosen], [classes[label] for label in labels[chosen]]
    columns = {"as on the board": [Cell(photo) for photo in photos]}
    for number in range(_VIEWS):
        views = _as_uint8(augment(tf.constant(photos), (seed, number), config))
        columns[f"view {number + 1}"] = [Cell(view) for view in views]
    for number, (name, alone) in enumerate(_mixers(config).items(), start=_VIEWS):
        columns[name] = _mixed(photos, names, config, alone, (seed, number))
    cells = zip(*columns.values(), strict=True)
    rows = [Row(name, row) for name, row in zip(names, cells, strict=True)]
    shown = len(set(labels[chosen].tolist()))
    of_all = f"{shown} of {len(classes)} classes; " if shown < len(classes) else ""
    text = of_all + (", ".join(describe(config)) or "every view is the plain photo")
    _write(path, draw_sheet(f"Augmentation: {title(config)}", text, list(columns), rows))


def _choose(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Places of the photos to show, class by class."""
    present = np.unique(labels)
    shown = present[np.linspace(0, len(present) - 1, min(len(present), _MOST_ROWS)).round().astype(int)]
    each = 2 if 2 * len(shown) <= _ROWS_WHEN_FEW else 1
    random = np.random.default_rng(seed)
    picked = [random.permutation(np.flatnonzero(labels == label))[:each] for label in shown]
    return np.concatenate([np.empty(0, np.int64), *picked])


def _mixers(config: AugmentConfig) -> dict[str, AugmentConfig]:
    """Each way of mixing that is on, with the config in which it is the only one."""
    ways = {}
    if config.mixup_alpha > 0:
        ways["mixup"] = replace(config, cutmix_alpha=0.0)
    if config.cutmix_alpha > 0:
        ways["cutmix"] = replace(config, mixup_alpha=0.0)
    return ways


def _mixed(
    photos: NDArray[np.uint8], names: Sequence[str], config: AugmentConfig, alone: AugmentConfig, seed: tuple[int, int]
) -> list[Cell]:
    """A view of each photo mixed with a view of another, and both shares."""
    views = augment(tf.constant(photos), seed, config)
    mixed, shares = mix(views, tf.eye(len(photos)), seed, alone)
    return [Cell(view, _shares(share, names)) for view, share in zip(_as_uint8(mixed), shares.numpy(), strict=True)]


def _shares(share: NDArray[np.float32], names: Sequence[str]) -> tuple[str, ...]:
    percent = np.round(100 * share).astype(int)
    largest_first = np.argsort(-percent, kind="stable")[:2]
    return tuple(f"{percent[place]}% {names[place]}" for place in largest_first if percent[place])


def _as_uint8(views: tf.Tensor) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(views.numpy()).astype(np.uint8)
    return rounded


def _write(path: Path, canvas: NDArray[np.uint8]) -> None:
    _, png = cv2.imencode(".png", canvas)
    try:
        path.write_bytes(png.tobytes())
    except OSError as err:
        raise PipelineError(f"{path}: the preview cannot be written ({err.strerror}); name another file") from err
