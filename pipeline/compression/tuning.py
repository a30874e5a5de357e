"""Training of a network that has just been compressed: at a low rate, towards its own earlier answers.

Imports TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tf_keras

from pipeline.callbacks.averaging import Averaging
from pipeline.callbacks.best import BestModel
from pipeline.callbacks.progress import Progress
from pipeline.callbacks.quality import Quality
from pipeline.callbacks.stopping import StopOnNan
from pipeline.callbacks.validation import Validation
from pipeline.compression.imitation import with_features
from pipeline.compression.preserve import Preserve, ProjectedAdamW, Projection
from pipeline.compression.recipe import TuneConfig
from pipeline.display import Display
from pipeline.examples import Source
from pipeline.learning_rate import WarmupCosine


@dataclass(frozen=True, slots=True)
class Tuned:
    """How it went.

    Attributes:
        before: on validation, before the first step.
        best: on validation; the model has these weights.
        best_epoch: 0 where no epoch was better than none.
        seconds: of the training, validation included.
    """

    before: Quality
    best: Quality
    best_epoch: int
    seconds: float


def tune(
    model: tf_keras.Model,
    name: str,
    source: Source,
    config: TuneConfig,
    loss: Any,
    measure: Callable[[], Quality],
    display: Display,
    preserve: Preserve | None = None,
) -> Tuned:
    """Train a model; it ends with the weights of its best epoch, which may be those that it came with.

    Args:
        model: a classifier, plain, wrapped or quantised; its trainable variables are trained.
        name: for the display.
        source: of batches.
        config: how.
        loss: of labels, answers and features, see ``imitation``.
        measure: gives the model's quality on validation, and brings whatever depends on its weights up to date.
        display: is told how it goes.
        preserve: what stays as it is.

    Raises:
        TrainingError: not one epoch had a finite loss.
    """
    start = time.monotonic()
    model = with_features(model)
    before, weights = measure(), model.get_weights()
    averaging = Averaging(config.averaging)
    best = BestModel(name, averaging=averaging)
    watch = [Validation(measure, averaging), best]
    keepers = [] if preserve is None else [preserve]
    projections = {} if preserve is None else preserve.by_variable
    _fit(model, name, source, config, loss, projections, [*keepers, averaging, *watch], best, display)
    assert best.best is not None  # else BestModel has raised
    found, epoch = best.best, best.best_epoch
    if not found.beats(before):
        model.set_weights(weights)
        found, epoch = before, 0
    seconds = time.monotonic() - start
    change = f"validation {before.accuracy:.1%}, trained {found.accuracy:.1%}"
    display.end(f"{name:<12}{change} (epoch {epoch} of {config.epochs}), {seconds:.0f} s")
    return Tuned(before, found, epoch, seconds)


def approach(
    model: tf_keras.Model,
    name: str,
    source: Source,
    config: TuneConfig,
    loss: Any,
    measure: Callable[[], Quality],
    display: Display,
    keepers: Sequence[tf_keras.callbacks.Callback],
) -> None:
    """Train while a structure is imposed little by little: it ends with the last weights, which alone have all of it.

    Args:
        model: a classifier, plain, wrapped or quantised; its trainable variables are trained.
        name: for the display.
        source: of batches.
        config: how.
        loss: of labels, answers and features, see ``imitation``.
        measure: gives the model's quality on validation.
        display: is told how it goes.
        keepers: callbacks that impose it.
    """
    _fit(
        with_features(model), name, source, config, loss, {}, [*keepers, Validation(measure)], BestModel(name), display
    )
    display.end()


def _fit(
    model: tf_keras.Model,
    name: str,
    source: Source,
    config: TuneConfig,
    loss: Any,
    projections: Mapping[str, Projection],
    callbacks: Sequence[tf_keras.callbacks.Callback],
    best: BestModel,
    display: Display,
) -> None:
    steps = config.steps(source.photos)
    total = steps * config.epochs
    schedule = WarmupCosine(config.learning_rate, round(config.warmup_fraction * total), total)
    model.compile(ProjectedAdamW(projections, schedule), loss, jit_compile=False)
    progress = Progress(display, name, config.epochs, steps, best)
    data = source.dataset(min(config.batch, source.photos), steps, 0)
    together = [StopOnNan(), *callbacks, progress]
    model.fit(data, epochs=config.epochs, steps_per_epoch=steps, callbacks=together, verbose=0)
