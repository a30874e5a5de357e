"""The quickest training: a linear head on the features of a frozen backbone.

Imports no TensorFlow where the backbone is in the cache already.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.display import Display
from pipeline.explain import linear_heatmaps
from pipeline.extract import Extractor
from pipeline.fitted import Fitted, Task
from pipeline.frozen_backbone import FEATURES, MAPS, FrozenBackbone, frozen_backbone
from pipeline.head import LinearHead, fit_linear_head
from pipeline.run import StageRecord


@dataclass(frozen=True, slots=True)
class Features:
    """What the frozen backbone makes of the photos.

    Attributes:
        frozen: the backbone.
        extractor: of it.
        train: (views, n, features) float32; of each photo as it is and, where that is allowed, mirrored.
        validation: (m, features) float32.
        stage: how long it took.
    """

    frozen: FrozenBackbone
    extractor: Extractor
    train: NDArray[np.float32]
    validation: NDArray[np.float32]
    stage: StageRecord


class FrozenClassifier:
    """A frozen backbone with a linear head. Implements ``pipeline.fitted.Classifier``.

    Args:
        features: of the backbone.
        head: fitted on them.
    """

    def __init__(self, features: Features, head: LinearHead) -> None:
        self._frozen, self._extractor, self._head = features.frozen, features.extractor, head

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Classifier``."""
        return self._head.probabilities(np.stack(list(self._extractor(pixels, FEATURES))))

    def weights(self) -> list[NDArray[Any]]:
        """See ``Classifier``."""
        return [*self._frozen.weights, self._head.kernel, self._head.bias]

    def heatmaps(self, pixels: NDArray[np.uint8], wanted: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """See ``Classifier``; by class activation maps."""
        if not self._frozen.has_maps:
            return None
        maps = np.stack(list(self._extractor(pixels, MAPS)))
        height, width = pixels.shape[1:3]
        return linear_heatmaps(maps, self._head.kernel, wanted, (height, width))


def fit_fast(task: Task, cache: Path, display: Display) -> Fitted:
    """Train the head alone.

    Args:
        task: with a linear head and pretrained weights.
        cache: see ``pipeline.cache.cache_root``.
        display: is told how it goes.

    Raises:
        WeightsError: the pretrained weights cannot be had.
    """
    features = extract_features(task, cache, display)
    head, stage = fit_head(task, features, display)
    return Fitted(FrozenClassifier(features, head), (features.stage, stage), ())


def extract_features(task: Task, cache: Path, display: Display) -> Features:
    """Run the frozen backbone over all photos to train and validate on.

    Raises:
        WeightsError: the pretrained weights cannot be had.
    """
    size = task.train.pixels.shape[1]
    frozen = frozen_backbone(task.backbone, task.weights, size, cache)
    extractor = Extractor(frozen.model)
    start = time.monotonic()
    pictures = [task.train.pixels, task.train.pixels[:, :, ::-1]] if task.flip else [task.train.pixels]
    total = len(pictures) * len(task.train.labels) + len(task.validation.labels)
    display.begin("features", total, "photo")
    views = [np.stack(list(extractor(pixels, FEATURES, display.advance))) for pixels in pictures]
    validation = np.stack(list(extractor(task.validation.pixels, FEATURES, display.advance)))
    seconds = time.monotonic() - start
    display.end(f"features    {total} pictures, {total / seconds:.0f} a second, {seconds:.0f} s")
    stage = StageRecord(name="features", seconds=seconds, photos_per_second=total / seconds)
    return Features(frozen, extractor, np.stack(views), validation, stage)


def fit_head(task: Task, features: Features, display: Display) -> tuple[LinearHead, StageRecord]:
    """The linear head, and how long it took."""
    start = time.monotonic()
    views, photos, width = features.train.shape
    display.begin("head", 1, "fit")
    head = fit_linear_head(
        features.train.reshape(-1, width),
        np.tile(task.train.labels, views),
        features.validation,
        task.validation.labels,
        task.classes,
        task.head.label_smoothing,
    )
    seconds = time.monotonic() - start
    display.end(f"head        validation {head.accuracy:.1%}, {seconds:.1f} s")
    stage = StageRecord(
        name="head",
        seconds=seconds,
        photos_per_second=views * photos / seconds,
        epochs=1,
        validation_accuracy=head.accuracy,
    )
    return head, stage
