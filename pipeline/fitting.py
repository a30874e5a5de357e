"""Pixels to a trained classifier: the two stages, and the choice between them. Imports TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tf_keras
from numpy.typing import NDArray

from pipeline.augment import AugmentConfig
from pipeline.backbones import Backbone
from pipeline.display import Display
from pipeline.features import Forward, ViewStore, cut
from pipeline.model import LOGITS, POOL, build_classifier
from pipeline.run import StageRecord
from pipeline.stages import (
    FINE_TUNE,
    HEAD,
    Epoch,
    Examples,
    KeepBest,
    Quality,
    StageConfig,
    fit,
    freeze_batch_norm,
    quality,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that is chosen about a training.

    Attributes:
        most_views: random views per photo, at most.
        view_budget: views in all, about; a large set needs fewer of each photo.
    """

    head: StageConfig = HEAD
    fine_tune: StageConfig = FINE_TUNE
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    most_views: int = 5
    view_budget: int = 6000

    def views(self, photos: int) -> int:
        """Views per photo, the plain one included."""
        return 1 + max(1, min(self.most_views, round(self.view_budget / photos)))


@dataclass(frozen=True, slots=True)
class Labelled:
    """(n, height, width, 3) uint8 RGB and (n,) int64."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained classifier and how it came about."""

    classifier: tf_keras.Model
    stages: tuple[StageRecord, ...]
    history: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be trained.

    Attributes:
        backbone: from the registry.
        weights: where its pretrained weights come from, see ``Backbone.load_weights``.
        classes: how many.
        train: to learn from.
        validation: for early stopping and for the choice between the stages.
        recipe: how.
        seed: of everything that chance decides.
    """

    backbone: Backbone
    weights: str
    classes: int
    train: Labelled
    validation: Labelled
    recipe: Recipe
    seed: int


def fit_classifier(task: Task, scratch: Path, display: Display) -> Fitted:
    """Train in two stages; the second is kept only if validation says so.

    Args:
        task: what.
        scratch: folder on a disk with room for the views, some 50 kB each.
        display: is told how it goes.

    Raises:
        WeightsError: the pretrained weights cannot be had.
        TrainingError: the loss became NaN before there was anything to keep.
    """
    return _Fitting(task, scratch, display).run()


class _Fitting:
    def __init__(self, task: Task, scratch: Path, display: Display) -> None:
        tf_keras.utils.set_random_seed(task.seed)
        self._task, self._scratch, self._display = task, scratch, display
        size = task.train.pixels.shape[1]
        self._classifier = build_classifier(
            task.backbone, task.classes, size, task.weights, task.recipe.fine_tune.dropout
        )
        self._parts = cut(self._classifier, task.backbone.unfreeze_from, POOL)
        self._history: list[Epoch] = []

    def run(self) -> Fitted:
        views, view_stage = self._compute_views()
        validation = self._validation_activations()
        head_quality, head_stage = self._fit_head(views, validation)
        tuned_stage = self._fine_tune(views, validation, head_quality)
        return Fitted(self._classifier, (view_stage, head_stage, tuned_stage), tuple(self._history))

    def _compute_views(self) -> tuple[NDArray[np.float16], StageRecord]:
        start = time.monotonic()
        photos = len(self._task.train.labels)
        count = self._task.recipe.views(photos)
        store = ViewStore(self._scratch, count, photos, self._parts.lower.output_shape[1:])
        self._display.begin("views", count * photos, "view")
        store.fill(
            self._parts.lower,
            self._task.train.pixels,
            self._task.backbone.normalisation,
            self._task.recipe.augmentation,
            self._task.seed,
            self._display.advance,
        )
        seconds = time.monotonic() - start
        self._display.end(f"views       {count} of each of {photos} photos, frozen part computed once, {seconds:.0f} s")
        return store.activations, StageRecord(name="views", seconds=seconds, photos_per_second=count * photos / seconds)

    def _validation_activations(self) -> NDArray[np.float16]:
        pixels = self._task.validation.pixels
        store = ViewStore(self._scratch, 1, len(pixels), self._parts.lower.output_shape[1:])
        plain = self._task.recipe.augmentation  # of no effect: the one view is the plain photo
        store.fill(
            self._parts.lower,
            pixels,
            self._task.backbone.normalisation,
            plain,
            self._task.seed,
            lambda count: None,
        )
        return store.activations[0]  # type: ignore[no-any-return]

    def _fit_head(self, views: NDArray[np.float16], validation: NDArray[np.float16]) -> tuple[Quality, StageRecord]:
        start = time.monotonic()
        self._display.begin("head", len(views) + self._task.recipe.head.epochs, "step")
        features = self._head_features(views)
        validation_features = Forward(self._parts.features)(validation)
        head = self._new_head(features.shape[-1])
        stage = self._fit_stage(
            "head",
            head,
            features.astype(np.float16),
            self._task.recipe.head,
            lambda: quality(head(validation_features, training=False).numpy(), self._task.validation.labels),
        )
        self._classifier.get_layer(LOGITS).set_weights(head.get_layer(LOGITS).get_weights())
        assert stage.best is not None
        seconds = time.monotonic() - start
        rate = views.shape[0] * views.shape[1] / seconds
        self._display.end(
            f"head        validation {stage.best.accuracy:.1%} after {stage.epochs} epochs, {seconds:.0f} s"
        )
        record = StageRecord(
            name="head", seconds=seconds, photos_per_second=rate, epochs=stage.epochs,
            validation_accuracy=stage.best.accuracy,
        )  # fmt: skip
        return stage.best, record

    def _head_features(self, views: NDArray[np.float16]) -> NDArray[np.float32]:
        forward, features = Forward(self._parts.features), []
        for view in views:
            features.append(forward(view))
            self._display.advance()
        return np.stack(features)

    def _new_head(self, width: int) -> tf_keras.Model:
        inputs = tf_keras.layers.Input((width,))
        x = tf_keras.layers.Dropout(self._task.recipe.head.dropout)(inputs)
        logits = tf_keras.layers.Dense(self._task.classes, name=LOGITS)(x)
        return tf_keras.Model(inputs, tf_keras.layers.Softmax()(logits))

    def _fine_tune(
        self, views: NDArray[np.float16], validation: NDArray[np.float16], head_quality: Quality
    ) -> StageRecord:
        start = time.monotonic()
        upper, before = self._parts.upper, self._classifier.get_weights()
        freeze_batch_norm(upper)
        forward = Forward(upper)
        self._display.begin("fine-tune", self._task.recipe.fine_tune.epochs, "epoch")
        stage = self._fit_stage(
            "fine-tune",
            upper,
            views,
            self._task.recipe.fine_tune,
            lambda: quality(forward(validation), self._task.validation.labels),
        )
        assert stage.best is not None
        kept = stage.best.beats(head_quality) and stage.best.accuracy >= head_quality.accuracy
        if not kept:
            self._classifier.set_weights(before)
        seconds = time.monotonic() - start
        verdict = "kept" if kept else "not better, the head alone is kept"
        self._display.end(
            f"fine-tune   validation {stage.best.accuracy:.1%} after {stage.epochs} epochs, {seconds:.0f} s; {verdict}"
        )
        return StageRecord(
            name="fine-tune",
            seconds=seconds,
            photos_per_second=stage.epochs * views.shape[1] / seconds,
            epochs=stage.epochs,
            validation_accuracy=stage.best.accuracy,
            kept=kept,
        )

    def _fit_stage(
        self,
        name: str,
        model: tf_keras.Model,
        views: NDArray[np.float16],
        config: StageConfig,
        measure: Callable[[], Quality],
    ) -> KeepBest:
        def note(epoch: Epoch) -> None:
            self._history.append(epoch)
            self._display.advance(1, f"validation {epoch.validation.accuracy:.1%}")

        examples = Examples(
            views, self._task.train.labels, self._task.classes, config.batch, config.mixup, self._task.seed
        )
        keep_best = KeepBest(name, measure, config.patience, note)
        fit(model, examples, config, keep_best)
        return keep_best
