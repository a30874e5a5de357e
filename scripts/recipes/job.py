"""What a recipe is asked to do. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    Attributes:
        photos: folder with ``train/``, ``val/`` and ``test/``, each with a folder per class.
        weights: Keras ``.h5`` weights of MobileNetV2 without top.
        alpha: its width multiplier.
        size: side of the square input in pixels.
    """

    photos: Path
    weights: Path
    alpha: float
    size: int

    @property
    def classes(self) -> list[str]:
        """Names of the classes in the order of the labels."""
        return sorted(path.name for path in (self.photos / "train").iterdir())


class RecipeModule(Protocol):
    """What a module of this package has."""

    def train(self, job: Job) -> Any:
        """Train and return a ``keras.Model`` from ``(n, size, size, 3) float32``, as ``load`` gives it, to scores."""

    def load(self, job: Job, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Photos of a split in the recipe's own preprocessing, and their labels, in the order of the class names."""

    def calibration(self, job: Job) -> Iterable[NDArray[np.float32]]:
        """Batches of one training photo to find the ranges of activations with."""
