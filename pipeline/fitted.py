"""What a training gives, however it was done. Imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones import Backbone
from pipeline.callbacks.history_file import HistoryLine
from pipeline.config import HeadConfig
from pipeline.run import StageRecord


@dataclass(frozen=True, slots=True)
class Labelled:
    """(n, height, width, 3) uint8 RGB and (n,) int64."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Classifier(Protocol):
    """A trained float model."""

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, (n, classes) float32, for (n, height, width, 3) uint8 RGB."""

    def weights(self) -> list[NDArray[Any]]:
        """As ``Model.get_weights`` of ``pipeline.model.build_classifier`` gives them."""

    def heatmaps(self, pixels: NDArray[np.uint8], wanted: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Where in each photo the evidence for a class lies; None for a network that keeps no places.

        Args:
            pixels: (n, height, width, 3) uint8 RGB.
            wanted: (n,) integers, a class each.

        Returns:
            (n, height, width) float32, 0 to 1.
        """


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained classifier and how it came about."""

    classifier: Classifier
    stages: tuple[StageRecord, ...]
    history: tuple[HistoryLine, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be learned.

    Attributes:
        backbone: from the registry, in the form that fits the weights.
        weights: where its pretrained weights come from, see ``Backbone.load_weights``.
        classes: how many.
        train: to learn from.
        validation: for every choice.
        head: the classification layers.
        flip: whether photos may be mirrored.
        seed: of everything that chance decides.
    """

    backbone: Backbone
    weights: str
    classes: int
    train: Labelled
    validation: Labelled
    head: HeadConfig
    flip: bool
    seed: int
