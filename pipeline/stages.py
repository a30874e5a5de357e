"""One stage of a training: steps of AdamW on some source of batches, watched by callbacks. Imports TensorFlow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray

from device.console import say
from pipeline.calibrate import fit_temperature
from pipeline.callbacks.agreement import AgreedLoss, ReadWeights
from pipeline.callbacks.averaging import Averaging
from pipeline.callbacks.backup import Backup
from pipeline.callbacks.best import BestModel
from pipeline.callbacks.progress import Progress
from pipeline.callbacks.quality import Quality
from pipeline.callbacks.state import Stateful
from pipeline.callbacks.stopping import EarlyStopping, StopAtTarget, StopOnNan
from pipeline.callbacks.validation import Validation
from pipeline.examples import Source
from pipeline.learning_rate import LayerwiseAdamW, WarmupCosine, find_learning_rate
from pipeline.recipes import StageConfig
from pipeline.session import Session

# Batches that the range test goes round, and rates that it tries.
_FINDER_BATCHES, _FINDER_STEPS = 12, 24


# A range test sees a few steps; what is known to work on many sets of photos is not thrown over for it.
_FINDER_FREEDOM = 4.0


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a stage went.

    Attributes:
        best: on validation; the model has these weights.
        epochs: done, those before a resume included.
        seconds: in this process.
        photos_per_second: trained on, validation's time included.
        learning_rate: at the peak.
        diverged: it ended because the loss was no number any more.
    """

    best: Quality
    epochs: int
    seconds: float
    photos_per_second: float
    learning_rate: float
    diverged: bool


def fit_stage(
    model: tf_keras.Model,
    name: str,
    source: Source,
    config: StageConfig,
    loss: Any,
    factors: Callable[[str], float],
    measure: Callable[[], Quality],
    session: Session,
) -> StageResult:
    """Train a model; it ends with its best weights. An interrupted stage goes on after its last whole epoch.

    Args:
        model: its trainable variables are trained.
        name: of the stage, the same in every run.
        source: of batches.
        config: how.
        loss: as ``Model.compile`` takes it.
        factors: of the rate, by the name of a variable.
        measure: gives the model's quality on validation.
        session: what is around it.

    Raises:
        TrainingError: not one epoch had a finite loss, or something cannot be written.
    """
    start = time.monotonic()
    rate = _rate(model, source, config, loss, factors, session)
    devices = session.workers.devices
    batch = _batch_per_device(config, source, session)
    steps = max(1, source.photos // (batch * devices))
    total = steps * config.epochs
    with session.strategy.scope():
        schedule = WarmupCosine(rate, round(config.warmup_fraction * total), total)
        optimizer = LayerwiseAdamW(factors, schedule, weight_decay=config.weight_decay)
        model.compile(optimizer=optimizer, loss=loss, jit_compile=session.gpu)
    watch = _Watch(name, config, measure, session)
    first = watch.backup.resume(model, config.epochs)
    session.require_same_start(name, first)
    if first and session.workers.is_chief:
        say(f"{name}: goes on after epoch {watch.best.epochs}")
    data = session.fit_input(source.dataset(batch, steps * devices, first))
    callbacks = watch.callbacks(steps)
    model.fit(data, epochs=config.epochs, initial_epoch=first, steps_per_epoch=steps, callbacks=callbacks, verbose=0)
    if watch.nan.stopped_because:
        say(f"{name}: {watch.nan.stopped_because}; the best weights before that are kept")
    assert watch.best.best is not None  # else BestModel has raised
    seconds, epochs = time.monotonic() - start, watch.best.epochs
    trained = (epochs - min(first, epochs)) * steps * batch * devices
    return StageResult(watch.best.best, epochs, seconds, trained / seconds, rate, bool(watch.nan.stopped_because))


class _Watch:
    """The callbacks of a stage, in the order in which they build on one another."""

    def __init__(self, name: str, config: StageConfig, measure: Callable[[], Quality], session: Session) -> None:
        self._name, self._config, self._measure, self._session = name, config, measure, session
        self.nan = StopOnNan()
        self._averaging = Averaging(config.averaging)
        self.best = BestModel(name, averaging=self._averaging)
        self._early = EarlyStopping(config.patience)
        stateful: list[Stateful] = [self._averaging, self.best, self._early]
        self.backup = Backup(session.backup_path(name), name, stateful, session.fingerprint)

    def callbacks(self, steps: int) -> list[tf_keras.callbacks.Callback]:
        """For ``fit``, with so many batches per epoch."""
        session, target = self._session, self._config.target_accuracy
        return [
            self.nan if session.workers.count == 1 else AgreedLoss(session.agree),
            self._averaging,
            Validation(lambda: session.agree_on(self._measure()), self._averaging),
            self.best,
            self._early,
            *([StopAtTarget(target)] if target else []),
            *session.logs(self._name),
            Progress(session.display, self._name, self._config.epochs, steps, self.best),
            self.backup if session.workers.is_chief else ReadWeights(),
        ]


def _batch_per_device(config: StageConfig, source: Source, session: Session) -> int:
    return max(1, _batch_of_all(config, source, session) // int(session.strategy.num_replicas_in_sync))


def _batch_of_all(config: StageConfig, source: Source, session: Session) -> int:
    return min(config.batch, source.photos * session.workers.count)


def _rate(
    model: tf_keras.Model,
    source: Source,
    config: StageConfig,
    loss: Any,
    factors: Callable[[str], float],
    session: Session,
) -> float:
    """At the peak: what a range test finds if one is wanted, of several workers the geometric mean of their finds.

    Each tests by itself, on one device, with batches as large as those of all together.
    """
    if config.find_rate is None:
        return config.learning_rate
    batch = _batch_of_all(config, source, session)
    batches = list(islice(source.dataset(batch, _FINDER_BATCHES, 0).as_numpy_iterator(), _FINDER_BATCHES))
    lowest, highest = config.learning_rate / 30, config.learning_rate * 300
    optimizer = LayerwiseAdamW(factors, lowest, weight_decay=config.weight_decay)
    alone = session.undistributed(model)
    curve = find_learning_rate(
        alone, batches, loss, lowest=lowest, highest=highest, steps=_FINDER_STEPS, optimizer=optimizer
    )
    rate = config.learning_rate
    if curve.lowest_at is not None:
        rate = float(np.clip(config.find_rate * curve.lowest_at, rate / _FINDER_FREEDOM, rate * _FINDER_FREEDOM))
    if session.workers.count == 1:
        return rate
    [logarithm] = session.agree([np.log([rate])])
    return math.exp(logarithm[0])


def quality(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """Accuracy and mean negative log-likelihood of (n, classes) float32, the latter after temperature scaling.

    A network grows too sure of itself long before it stops learning: without the temperature, which is fitted in the
    end anyway, epochs would be chosen too early (flowers: 85.9 against 87.5 % for the last epoch).
    """
    if not np.isfinite(probabilities).all():
        return Quality(math.nan, math.nan)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return Quality(accuracy, fit_temperature(probabilities, labels)[1])
