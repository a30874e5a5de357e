"""The trainings behind a plan: one object for the run, one method for each kind of step. Imports TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.augmentation.config import Preset, preset
from pipeline.callbacks.quality import Quality
from pipeline.compression.assignment import Assign
from pipeline.compression.clustering import cluster
from pipeline.compression.config import Plan, Pruning
from pipeline.compression.imitation import imitation_loss, targets_from
from pipeline.compression.kernels import compressible, distinct, equalise, sparsity
from pipeline.compression.load import load_compressed
from pipeline.compression.norms import freeze_norms, take_norms, with_fixed_statistics
from pipeline.compression.photos import RunPhotos
from pipeline.compression.preserve import Masked, Preserve, Projection, Tied
from pipeline.compression.pruning import prunable, pruning_callback
from pipeline.compression.quantisation import fit_ranges, fit_weight_ranges, kernels_of, quantise
from pipeline.compression.recipe import Recipe, TuneConfig
from pipeline.compression.record import KernelRecord, StepRecord
from pipeline.compression.tuning import Tuned, approach, tune
from pipeline.display import Display
from pipeline.distillation import hard_targets
from pipeline.examples import FreshViews
from pipeline.model import Predictor, normalise
from pipeline.robustness import evenly
from pipeline.run import Run
from pipeline.trained import TrainedClassifier, load_trained

# Photos that ranges are measured on: more do not sharpen them.
_RANGE_PHOTOS = 200
_RANGE_BATCH = 32
_LEAST = 1e-7


@dataclass(frozen=True, slots=True)
class PlanTrained:
    """The last step of a plan, done.

    Attributes:
        model: plain, or quantised.
        steps: in order.
        kernels: of the layers that were chosen to be pruned or clustered, by name.
        settings: of the recipe, for the record.
        float_accuracy: of the run's own model on validation.
        seconds: in all.
    """

    model: tf_keras.Model
    steps: tuple[StepRecord, ...]
    kernels: dict[str, KernelRecord]
    settings: dict[str, float | int | str]
    float_accuracy: float
    seconds: float


def train_plan(run: Run, plan: Plan, photos: RunPhotos, recipe: Recipe, display: Display) -> PlanTrained:
    """Do the last step of a plan, on the run's model or on the kept one that it builds on.

    Raises:
        PipelineError: tfmot cannot take this network.
        RunError: weights are missing or damaged.
        TrainingError: training failed.
    """
    start = time.monotonic()
    trainer = Trainer(run, photos, recipe, display)
    plain: TrainedClassifier = load_trained(run) if plan.before is None else load_compressed(run, plan.before)
    chosen = compressible(plain.model)
    if plan.before is None:
        equalise(plain.model)
    if plan.qat:
        model = trainer.quantise(plain, plan.before).model
    else:
        model = plain.model
        if plan.clusters is not None:
            trainer.cluster(plain, plan.clusters, keep_zeros=plan.pruning is not None)
        elif plan.pruning is not None:
            trainer.prune(plain, plan.pruning)
    variables = kernels_of(model)
    return PlanTrained(
        model=model,
        steps=tuple(trainer.steps),
        kernels={name: _kernel_record(variables[name].numpy()) for name in chosen},
        settings=_settings(recipe),
        float_accuracy=trainer.float_accuracy(),
        seconds=time.monotonic() - start,
    )


class Trainer:
    """Compresses the classifier of one run.

    Args:
        run: its float model is what the compressed one learns to be.
        photos: of the run.
        recipe: how.
        display: is told how it goes.

    Attributes:
        steps: done so far.
    """

    def __init__(self, run: Run, photos: RunPhotos, recipe: Recipe, display: Display) -> None:
        record = run.record
        tf_keras.utils.set_random_seed(record.seed)
        self._photos, self._recipe, self._display, self._seed = photos, recipe, display, record.seed
        self._teacher, classes = load_trained(run), len(record.classes)
        self._teach = targets_from(self._teacher)
        self._wanted = self._teacher.predict(photos.validation.pixels)
        self._loss = imitation_loss(classes, record.head.label_smoothing)
        flip = bool(record.hyperparameters.get("augmentation.flip", False))
        light = preset(Preset.LIGHT)
        self._augmentation = light if flip else light.without_flip()
        self._targets = hard_targets(photos.train.labels, classes)
        self.steps: list[StepRecord] = []

    def float_accuracy(self) -> float:
        """Of the run's own model, on validation."""
        return float((self._wanted.argmax(axis=1) == self._photos.validation.labels).mean())

    def prune(self, plain: TrainedClassifier, pruning: Pruning) -> None:
        """Prune a model in place."""
        fixed = replace(plain, model=with_fixed_statistics(plain.model))
        ramp = self._recipe.ramp
        wrapped = prunable(fixed.model, pruning, ramp.epochs * ramp.steps(len(self._targets)))
        measure = self._measure(fixed)
        source = self._source(plain)
        approach(wrapped, "pruning", source, ramp, self._loss, measure, self._display, [pruning_callback()])
        kernels = kernels_of(fixed.model)
        keep = {name: Masked(kernels[name].numpy()) for name in compressible(plain.model)}
        self._tune(fixed, "pruned", self._recipe.settle, keep)
        take_norms(fixed.model, plain.model)

    def cluster(self, plain: TrainedClassifier, clusters: int, keep_zeros: bool) -> None:
        """Cluster the weights of a model in place, and train the values that they share."""
        fixed = replace(plain, model=with_fixed_statistics(plain.model))
        kernels, chosen, recipe = kernels_of(fixed.model), compressible(plain.model), self._recipe
        variables = [kernels[name] for name in chosen]
        start = [cluster(one.numpy(), clusters, recipe.seeding, self._seed, keep_zeros) for one in variables]
        assign = Assign(list(zip(variables, start, strict=True)), keep_zeros)
        source, measure = self._source(plain), self._measure(fixed)
        approach(fixed.model, "clustering", source, recipe.assign, self._loss, measure, self._display, [assign])
        self._tune(fixed, "clustered", recipe.cluster, {name: Tied(kernels[name].numpy()) for name in chosen})
        take_norms(fixed.model, plain.model)

    def quantise(self, plain: TrainedClassifier, before: Plan | None) -> TrainedClassifier:
        """The quantised form of a model, trained; what was done to it before stays.

        Args:
            plain: its kernels are rescaled.
            before: what was done to it.
        """
        chosen = compressible(plain.model)
        structure = _structure(before)
        equalise(plain.model, keep=chosen if structure is Tied else ())
        kernels = kernels_of(plain.model)
        keep = {name: structure(kernels[name].numpy()) for name in chosen} if structure else {}
        model = quantise(plain.model)
        freeze_norms(model)
        fit_ranges(model, plain.model, self._range_batches(plain))
        quantised = replace(plain, model=model)
        self._tune(quantised, "qat", self._recipe.qat, keep, lambda: fit_weight_ranges(model))
        return quantised

    def _range_batches(self, plain: TrainedClassifier) -> Iterator[Any]:
        chosen = evenly(self._photos.train.labels, _RANGE_PHOTOS, self._seed)
        for start in range(0, len(chosen), _RANGE_BATCH):
            pixels = self._photos.train.pixels[chosen[start : start + _RANGE_BATCH]]
            yield normalise(tf.constant(pixels), plain.normalisation)

    def _source(self, plain: TrainedClassifier) -> FreshViews:
        pixels = self._photos.train.pixels
        return FreshViews(pixels, self._targets, self._augmentation, plain.normalisation, self._seed, self._teach)

    def _tune(
        self,
        trained: TrainedClassifier,
        name: str,
        config: TuneConfig,
        keep: Mapping[str, Projection],
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        preserve = Preserve(kernels_of(trained.model), keep) if keep else None
        source, measure = self._source(trained), self._measure(trained, refresh)
        tuned = tune(trained.model, name, source, config, self._loss, measure, self._display, preserve)
        self.steps.append(_step(name, config, tuned))

    def _measure(self, trained: TrainedClassifier, refresh: Callable[[], None] = lambda: None) -> Callable[[], Quality]:
        validation, predict = self._photos.validation, Predictor(trained.model, trained.normalisation)

        def measure() -> Quality:
            refresh()
            return _nearness(predict(validation.pixels), self._wanted, validation.labels)

        return measure


def _nearness(found: NDArray[np.float32], wanted: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """Accuracy, and as loss the cross-entropy with the float network's answers.

    Of a hundred photos their labels cannot tell which epoch is nearest to it; its answers can.
    """
    accuracy = float((found.argmax(axis=1) == labels).mean())
    return Quality(accuracy, float(-(wanted * np.log(np.maximum(found, _LEAST))).sum(axis=1).mean()))


def _step(name: str, config: TuneConfig, tuned: Tuned) -> StepRecord:
    return StepRecord(
        name=name,
        epochs=config.epochs,
        best_epoch=tuned.best_epoch,
        seconds=tuned.seconds,
        learning_rate=config.learning_rate,
        validation_before=tuned.before.accuracy,
        validation_accuracy=tuned.best.accuracy,
    )


def _kernel_record(kernel: NDArray[np.float32]) -> KernelRecord:
    return KernelRecord(weights=kernel.size, sparsity=sparsity(kernel), values=distinct(kernel))


def _settings(recipe: Recipe) -> dict[str, float | int | str]:
    steps = {name: getattr(recipe, name) for name in ("ramp", "settle", "assign", "cluster", "qat")}
    figures = {f"{name}.{key}": value for name, step in steps.items() for key, value in asdict(step).items()}
    return {**figures, "seeding": recipe.seeding.value}


def _structure(before: Plan | None) -> type[Tied] | type[Masked] | None:
    if before is None:
        return None
    return Tied if before.clusters else Masked
