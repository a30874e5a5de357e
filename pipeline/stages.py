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
from pipeline.callbacks.averaging import Averaging
from pipeline.callbacks.backup import Backup
from pipeline.callbacks.best import BestModel
from pipeline.callbacks.progress import Progress
from pipeline.callbacks.quality import Quality
from pipeline.callbacks.stopping import EarlyStopping, StopAtTarget, StopOnNan
from pipeline.callbacks.validation import Validation
from pipeline.examples import Source
from pipeline.learning_rate import LayerwiseAdamW, WarmupCosine, find_learning_rate
from pipeline.recipes import StageConfig
from pipeline.session import Session

# Batches that the range test goes round, and rates that it tries.
_FINDER_BATCHES, _FINDER_STEPS = 12, 36


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
    """

    best: Quality
    epochs: int
    seconds: float
    photos_per_second: float
    learning_rate: float


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
    averaging = Averaging(config.averaging)
    best = BestModel(name, averaging=averaging)
    early = EarlyStopping(config.patience)
    backup = Backup(session.backup_path(name), name, [averaging, best, early], session.fingerprint)
    first = backup.resume(model, config.epochs)
    if first:
        say(f"{name}: goes on after epoch {best.epochs}")
    nan = StopOnNan()
    target = [StopAtTarget(config.target_accuracy)] if config.target_accuracy else []
    callbacks = [nan, averaging, Validation(measure, averaging), best, early, *target, *session.logs(name)]
    callbacks += [Progress(session.display, name, config.epochs, steps, best)]
    if session.workers.is_chief:
        callbacks.append(backup)
    data = session.fit_input(source.dataset(batch, steps * devices, first))
    model.fit(data, epochs=config.epochs, initial_epoch=first, steps_per_epoch=steps, callbacks=callbacks, verbose=0)
    if nan.stopped_because:
        say(f"{name}: {nan.stopped_because}; the best weights before that are kept")
    assert best.best is not None  # else BestModel has raised
    seconds = time.monotonic() - start
    trained = (best.epochs - min(first, best.epochs)) * steps * batch * devices
    return StageResult(best.best, best.epochs, seconds, trained / seconds, rate)


def _batch_per_device(config: StageConfig, source: Source, session: Session) -> int:
    together = min(config.batch, source.photos * session.workers.count)
    return max(1, together // int(session.strategy.num_replicas_in_sync))


def _rate(
    model: tf_keras.Model,
    source: Source,
    config: StageConfig,
    loss: Any,
    factors: Callable[[str], float],
    session: Session,
) -> float:
    # Workers would have to agree on every step of the test.
    if not config.find_rate or session.workers.count > 1 or session.workers.devices > 1:
        return config.learning_rate
    batch = _batch_per_device(config, source, session)
    batches = list(islice(source.dataset(batch, _FINDER_BATCHES, 0).as_numpy_iterator(), _FINDER_BATCHES))
    lowest, highest = config.learning_rate / 30, config.learning_rate * 300
    optimizer = LayerwiseAdamW(factors, lowest, weight_decay=config.weight_decay)
    curve = find_learning_rate(
        model, batches, loss, lowest=lowest, highest=highest, steps=_FINDER_STEPS, optimizer=optimizer
    )
    if curve.suggested is None:
        return config.learning_rate
    freedom = (config.learning_rate / _FINDER_FREEDOM, config.learning_rate * _FINDER_FREEDOM)
    return float(np.clip(curve.suggested, *freedom))


def quality(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """Accuracy and mean negative log-likelihood of (n, classes) float32."""
    picked = probabilities[np.arange(len(labels)), labels]
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return Quality(accuracy, float(-np.log(np.maximum(picked, 1e-7)).mean()) if np.isfinite(picked).all() else math.nan)
