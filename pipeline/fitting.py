"""Pixels to a trained classifier: fine-tuning of pretrained weights, and training from scratch. Imports TensorFlow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.augmentation.config import AugmentConfig
from pipeline.backbones import Backbone
from pipeline.backbones.base import NO_WEIGHTS
from pipeline.callbacks.history_file import read_history
from pipeline.callbacks.quality import Quality
from pipeline.distillation import Teacher, hard_targets, make_loss
from pipeline.errors import TrainingError
from pipeline.examples import CachedViews, FreshViews, Source
from pipeline.extract import Extractor
from pipeline.fast import Features, extract_features, fit_head
from pipeline.features import Forward, ViewStore, convert_lower, cut, draw_views
from pipeline.fitted import Fitted, Labelled, Task
from pipeline.job import Job
from pipeline.keras_classifier import KerasClassifier
from pipeline.model import LOGITS, POOL, Predictor, add_head, build_classifier
from pipeline.recipes import Recipe, StageConfig
from pipeline.run import HISTORY, StageRecord
from pipeline.session import Session
from pipeline.stages import StageResult, fit_stage, quality

# Photos from which batch norm's statistics may be learned anew: fewer would ruin those of a million.
_ENOUGH_FOR_BATCH_NORM = 20_000
# From one worker's seed to the next; a view's seed is its number more than the worker's.
_WORKER_STRIDE = 100_003


def fit_job(job: Job, recipe: Recipe, session: Session) -> Fitted:
    """Fine-tune or train from scratch, with the teacher if there is one.

    Raises:
        WeightsError: the pretrained weights cannot be had.
        TrainingError: training failed.
    """
    size = (job.spec.height, job.spec.width)
    teacher = None if job.teacher is None else Teacher(job.teacher, job.dataset.classes, size)
    fit = fit_from_scratch if job.config.weights == NO_WEIGHTS else fit_classifier
    return fit(job.task(), recipe, session, teacher)


def fit_classifier(task: Task, recipe: Recipe, session: Session, teacher: Teacher | None = None) -> Fitted:
    """Train a head, then the upper blocks from the top down, each only if validation says that it is better.

    Args:
        task: what; with pretrained weights.
        recipe: how.
        session: what is around it.
        teacher: whose answers are learned too.

    Raises:
        WeightsError: the pretrained weights cannot be had.
        TrainingError: the loss became NaN before there was anything to keep.
    """
    return _FineTuning(task, recipe, session, teacher).run()


def fit_from_scratch(task: Task, recipe: Recipe, session: Session, teacher: Teacher | None = None) -> Fitted:
    """Train the whole network from random weights, on new views of every photo in every epoch.

    Raises:
        TrainingError: the loss became NaN in the first epoch.
    """
    return _FromScratch(task, recipe, session, teacher).run()


class _Training:
    """What both ways have in common."""

    def __init__(self, task: Task, recipe: Recipe, session: Session, teacher: Teacher | None) -> None:
        tf_keras.utils.set_random_seed(task.seed)
        self._task, self._recipe, self._session, self._teacher = task, recipe, session, teacher
        self._display = session.display
        self._size = task.train.pixels.shape[1]
        with session.strategy.scope():
            self._classifier = build_classifier(task.backbone, task.classes, self._size, task.head, task.weights)
        self._plain = session.undistributed(self._classifier)
        self._predict = Predictor(self._plain, task.backbone.normalisation)
        self._loss = make_loss(task.classes, task.head.label_smoothing, taught=teacher is not None)
        self._own = _shard(task.train, session)
        # Neighbours in the list of photos are mostly of one class, and workers have every other of them: if these drew
        # alike, a step would see each class, view and mixture as often as there are workers.
        self._own_seed = task.seed + _WORKER_STRIDE * session.workers.index

    def _fresh_views(self) -> Source:
        targets = hard_targets(self._own.labels, self._task.classes)
        teach = (lambda pixels, hard: hard) if self._teacher is None else self._append_soft
        normalisation = self._task.backbone.normalisation
        return FreshViews(self._own.pixels, targets, self._recipe.augmentation, normalisation, self._own_seed, teach)

    def _append_soft(self, pixels: Any, hard: Any) -> Any:
        assert self._teacher is not None
        return tf.concat([hard, self._teacher.soften(pixels)], axis=1)

    def _update_plain(self) -> None:
        """With several devices or workers all of them take part: they keep statistics of batch norm of their own."""
        if self._plain is not self._classifier:
            self._plain.set_weights(self._classifier.get_weights())

    def _measure_whole(self) -> Quality:
        self._update_plain()
        validation = self._task.validation
        return quality(self._predict(validation.pixels), validation.labels)

    def _fitted(self, stages: list[StageRecord]) -> Fitted:
        self._update_plain()
        classifier = KerasClassifier(self._plain, self._task.backbone.normalisation)
        return Fitted(classifier, tuple(stages), read_history(self._session.folder / HISTORY))

    def _record(self, name: str, result: StageResult, kept: bool, verdict: str = "") -> StageRecord:
        accuracy = f"validation {result.best.accuracy:.1%} after {result.epochs} epochs"
        pace = f"{result.photos_per_second:.0f} photos a second, {result.seconds:.0f} s"
        self._display.end(f"{name:<12}{accuracy}, {pace}{verdict}")
        return StageRecord(
            name=name,
            seconds=result.seconds,
            photos_per_second=result.photos_per_second,
            epochs=result.epochs,
            validation_accuracy=result.best.accuracy,
            learning_rate=result.learning_rate,
            kept=kept,
        )


class _FromScratch(_Training):
    def run(self) -> Fitted:
        result = fit_stage(
            self._classifier,
            "scratch",
            self._fresh_views(),
            self._recipe.scratch,
            self._loss,
            lambda name: 1.0,
            self._measure_whole,
            self._session,
        )
        if result.diverged and result.best.loss >= math.log(self._task.classes):
            raise TrainingError("the loss became NaN before anything was learned; give a lower --learning-rate")
        return self._fitted([self._record("scratch", result, kept=True)])


@dataclass(frozen=True, slots=True)
class _Views:
    """What fine-tuning trains on: the model from the cut on, its batches, and its quality on validation."""

    model: tf_keras.Model
    source: Source
    measure: Callable[[], Quality]


class _FineTuning(_Training):
    def run(self) -> Fitted:
        backbone, stages = self._task.backbone, list[StageRecord]()
        best = self._fit_head(stages)
        deep = _deeper(backbone)
        plan = [("top", self._recipe.top, backbone.unfreeze_from), ("deep", self._recipe.deep, deep)]
        plan = [step for step in plan if step[1].epochs]
        if plan:
            views = self._compute_views(plan[-1][2], stages)
            rate: float | None = None
            for name, config, first in plan:
                # Found once: a range test costs as much as an epoch or two.
                config = config if rate is None else replace(config, learning_rate=rate, find_rate=None)
                best = self._fine_tune(name, config, first, views, best, stages)
                rate = stages[-1].learning_rate
        return self._fitted(stages)

    def _fit_head(self, stages: list[StageRecord]) -> Quality:
        features = extract_features(self._task, self._session.cache, self._display)
        stages.append(features.stage)
        if not self._task.head.is_linear:
            return self._train_head(features, stages)
        head, stage = fit_head(self._task, features, self._display)
        stages.append(stage)
        self._classifier.get_layer(LOGITS).set_weights(self._session.agree([head.kernel, head.bias]))
        found = quality(head.probabilities(features.validation), self._task.validation.labels)
        return self._session.agree_on(found)

    def _train_head(self, features: Features, stages: list[StageRecord]) -> Quality:
        """Every process trains the same small head on all photos; then they agree on the mean."""
        task, config = self._task, self._recipe.head
        inputs = tf_keras.layers.Input(features.train.shape[2:])
        head = tf_keras.Model(inputs, add_head(inputs, task.classes, task.head))
        targets = np.tile(hard_targets(task.train.labels, task.classes), (len(features.train), 1, 1))
        source = CachedViews(features.train.astype(np.float16), targets, AugmentConfig(), task.seed)
        forward = Forward(head)
        result = fit_stage(
            head,
            "head",
            source,
            config,
            make_loss(task.classes, task.head.label_smoothing, taught=False),
            lambda name: 1.0,
            lambda: quality(forward(features.validation), task.validation.labels),
            self._session.alone(),
        )
        for layer in head.layers:
            if layer.weights:
                self._classifier.get_layer(layer.name).set_weights(self._session.agree(layer.get_weights()))
        stages.append(self._record("head", result, kept=True))
        return self._session.agree_on(result.best)

    def _compute_views(self, first_layer: str, stages: list[StageRecord]) -> _Views:
        """Activations at the cut, by LiteRT; on a GPU there is nothing to gain and the photos stay as they are."""
        if self._session.gpu:
            return _Views(self._classifier, self._fresh_views(), self._measure_whole)
        start = time.monotonic()
        with self._session.strategy.scope():
            parts = cut(self._classifier, first_layer, POOL)
        self._update_plain()
        plain = cut(self._plain, first_layer, POOL)
        lower = Extractor(convert_lower(plain, self._task.backbone.normalisation))
        own, validation = self._own, self._task.validation
        count, shape = self._recipe.views(len(self._task.train.labels)), parts.lower.output_shape[1:]
        known = ViewStore(self._session.cache, 1, len(validation.labels), shape)
        store = ViewStore(self._session.cache, count, len(own.labels), shape)
        total = count * len(own.labels) + len(validation.labels)
        self._display.begin("views", total, "view")
        known.put(lower, 0, 0, validation.pixels, self._display.advance)
        soft = []
        for view, first, pixels in draw_views(own.pixels, self._recipe.augmentation, self._own_seed, count):
            store.put(lower, view, first, pixels, self._display.advance)
            soft.append(None if self._teacher is None else self._teacher.soft_targets(pixels))
        rate = total / (time.monotonic() - start)
        self._display.end(f"views       {count} of each photo through the frozen part, {rate:.0f} a second")
        stages.append(StageRecord(name="views", seconds=time.monotonic() - start, photos_per_second=rate))
        forward = Forward(plain.upper)

        def measure() -> Quality:
            self._update_plain()
            return quality(forward(known.activations[0]), validation.labels)

        return _Views(
            parts.upper,
            CachedViews(store.activations, self._targets(count, soft), self._recipe.augmentation, self._own_seed),
            measure,
        )

    def _targets(self, views: int, soft: list[NDArray[np.float32] | None]) -> NDArray[np.float32]:
        """(views, n, classes) of the labels, or twice as wide with the teacher's answers to each view."""
        hard = np.tile(hard_targets(self._own.labels, self._task.classes), (views, 1, 1))
        answers = [batch for batch in soft if batch is not None]
        if not answers:
            return hard
        return np.concatenate([hard, np.concatenate(answers).reshape(hard.shape)], axis=2)

    def _fine_tune(
        self, name: str, config: StageConfig, first: str, views: _Views, best: Quality, stages: list[StageRecord]
    ) -> Quality:
        before = self._classifier.get_weights()
        factors = self._unfreeze(first, config.layer_decay)
        result = fit_stage(views.model, name, views.source, config, self._loss, factors, views.measure, self._session)
        kept = result.best.beats(best)
        if not kept:
            self._classifier.set_weights(before)
        stages.append(self._record(name, result, kept, "" if kept else "; not better, not kept"))
        return result.best if kept else best

    def _unfreeze(self, first: str, decay: float) -> Callable[[str], float]:
        """Make a block and all behind it trainable, and say how much slower lower blocks learn."""
        thaw = len(self._task.train.labels) >= _ENOUGH_FOR_BATCH_NORM
        names = [layer.name for layer in self._classifier.layers]
        starts = [names.index(block) for block in self._task.backbone.blocks]
        depth: dict[str, int] = {}
        for position, layer in enumerate(self._classifier.layers):
            # Statistics of a few hundred photos would ruin those of a million.
            frozen_norm = isinstance(layer, tf_keras.layers.BatchNormalization) and not thaw
            is_head = layer.name.startswith("head_")
            layer.trainable = position >= names.index(first) and (is_head or not frozen_norm)
            below = sum(start > position for start in starts)
            depth.update({weight.name: below for weight in layer.weights})
        return lambda variable: float(decay ** depth.get(variable, 0))


def _deeper(backbone: Backbone) -> str:
    """Where the second stage of fine-tuning begins.

    At three fifths of the way: in MobileNets and their like just behind the step to a sixteenth of the picture. Before
    that step an epoch costs half as much again (31 against 44 photos a second) for no clear gain on test photos.
    """
    return backbone.blocks[max(1, backbone.blocks.index(backbone.unfreeze_from) * 3 // 5)]


def _shard(photos: Labelled, session: Session) -> Labelled:
    """This process's part; all parts are equally large, so that all do the same number of steps."""
    count = session.workers.count
    own = slice(session.workers.index if count > 1 else 0, len(photos.labels) // count * count, count)
    return Labelled(photos.pixels[own], photos.labels[own])
