"""Small photos that can be learned in seconds, and tasks made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from device.preprocess import preprocess_bytes
from pipeline.backbones.base import NO_WEIGHTS
from pipeline.backbones.registry import resolve
from pipeline.config import HeadConfig, TrainConfig, Workers
from pipeline.display import Silent
from pipeline.fitted import Labelled, Task
from pipeline.job import preprocess_spec

if TYPE_CHECKING:
    from pipeline.session import Session

SHAPES = ("cross", "disc", "stripes")


def draw_shape(name: str, random: np.random.Generator, side: int = 64) -> NDArray[np.uint8]:
    """(side, side, 3) uint8: one of ``SHAPES`` in any bright colour, at any place, on dark noise."""
    picture = random.normal(random.uniform(30, 110, 3), 20, (side, side, 3)).clip(0, 255).astype(np.uint8)
    colour = tuple(int(value) for value in random.integers(150, 256, 3))
    x, y = (int(value) for value in random.integers(side // 3, 2 * side // 3, 2))
    reach = int(random.integers(side // 5, side // 3))
    if name == "disc":
        cv2.circle(picture, (x, y), reach, colour, -1)
    elif name == "cross":
        cv2.line(picture, (x - reach, y - reach), (x + reach, y + reach), colour, side // 10)
        cv2.line(picture, (x - reach, y + reach), (x + reach, y - reach), colour, side // 10)
    else:
        for row in range(side // 12, side, side // 6):
            cv2.line(picture, (0, row), (side, row), colour, side // 16)
    return picture


def draw_shapes(folder: Path, each: int, seed: int = 0) -> Path:
    """``each`` photos of every shape, as ``folder/<shape>/000.png`` and on."""
    random = np.random.default_rng(seed)
    for name in SHAPES:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            cv2.imwrite(str(folder / name / f"{number:03}.png"), draw_shape(name, random))
    return folder


def shapes(each: int, size: int, seed: int = 0) -> Labelled:
    """As many of every shape, in turn, as a board of that input size would see them."""
    random = np.random.default_rng(seed)
    spec = preprocess_spec(TrainConfig(Path(), Path(), size=size), resolve("efficientnet-lite0", NO_WEIGHTS))
    labels = np.tile(np.arange(len(SHAPES)), each)
    encoded = [cv2.imencode(".png", draw_shape(SHAPES[label], random))[1].tobytes() for label in labels]
    return Labelled(np.stack([preprocess_bytes(data, spec) for data in encoded]), labels)


def shape_task(
    backbone: str, weights: str | Path, size: int, *, each: int = 16, head: HeadConfig | None = None, seed: int = 0
) -> Task:
    """To tell the shapes apart: ``each`` of them to train on, half as many to validate on."""
    return Task(
        backbone=resolve(backbone, str(weights)),
        weights=str(weights),
        classes=len(SHAPES),
        train=shapes(each, size, seed=1),
        validation=shapes(max(2, each // 2), size, seed=2),
        head=head or HeadConfig(),
        flip=True,
        seed=seed,
    )


def plain_session(folder: Path) -> Session:
    """What is around a training in one process, on one device."""
    import tensorflow as tf

    from pipeline.session import Session

    folder.mkdir(parents=True, exist_ok=True)
    return Session(folder, folder, Silent(), "fingerprint", tf.distribute.get_strategy(), Workers(), gpu=False)
