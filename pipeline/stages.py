"""The two stages of a training: a head on fixed features, then fine-tuning of the upper blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.errors import TrainingError


@dataclass(frozen=True, slots=True)
class StageConfig:
    """How one stage is trained, with AdamW (Loshchilov and Hutter 2017) and a cosine schedule.

    Attributes:
        epochs: at most.
        patience: epochs without a better one on validation before it stops.
        batch: photos per step.
        learning_rate: at the peak.
        warmup_fraction: share of the steps that rise to the peak.
        label_smoothing: share of the target that is spread over all classes.
        weight_decay: decoupled from the gradient.
        dropout: share of the pooled features that is dropped.
        mixup: parameter of its Beta distribution (Zhang et al. 2017); 0 switches it off.
    """

    epochs: int
    patience: int
    batch: int
    learning_rate: float
    warmup_fraction: float = 0.0
    label_smoothing: float = 0.1
    weight_decay: float = 1e-2
    dropout: float = 0.0
    mixup: float = 0.0


# Per step: twenty steps, about an epoch of a few hundred photos.
_AVERAGE_MOMENTUM = 0.95

HEAD = StageConfig(epochs=40, patience=8, batch=64, learning_rate=1e-3, dropout=0.2)
# Three times the rate is better where the photos are far from ImageNet (drawn signs: 98 against 91 %) and worse where
# they are near (flowers: 88 against 92 %), which is the usual case.
FINE_TUNE = StageConfig(epochs=10, patience=4, batch=32, learning_rate=3e-4, warmup_fraction=0.1, mixup=0.2)


@dataclass(frozen=True, slots=True)
class Quality:
    """On validation. ``loss``, the mean negative log-likelihood, decides.

    A hundred photos tell two epochs apart by their loss; by accuracy, in steps of a photo, mostly luck does.
    """

    accuracy: float
    loss: float

    def beats(self, other: Quality | None) -> bool:
        """Whether this one is better."""
        return other is None or self.loss < other.loss


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of the history."""

    stage: str
    number: int
    learning_rate: float
    train_loss: float
    validation: Quality


class Examples(tf_keras.utils.Sequence):
    """Batches in a new order every epoch, of a random view of every photo.

    Args:
        views: (views, n, ...) float16.
        labels: (n,) integers.
        classes: how many.
        batch: size.
        mixup: see ``StageConfig``.
        seed: of order, views and mixup.
    """

    def __init__(
        self,
        views: NDArray[np.float16],
        labels: NDArray[np.int64],
        classes: int,
        batch: int,
        mixup: float,
        seed: int,
    ) -> None:
        super().__init__()
        self._views, self._mixup, self._batch = views, mixup, batch
        self._targets = np.eye(classes, dtype=np.float32)[labels]
        self._random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self._targets) / self._batch)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        inputs = self._views[self._view[chosen], chosen].astype(np.float32)
        targets = self._targets[chosen]
        if not self._mixup:
            return inputs, targets
        share = np.float32(self._random.beta(self._mixup, self._mixup))
        return share * inputs + (1 - share) * inputs[::-1], share * targets + (1 - share) * targets[::-1]

    def on_epoch_end(self) -> None:
        """Draw the next epoch."""
        self._order = self._random.permutation(len(self._targets))
        self._view = self._random.integers(len(self._views), size=len(self._targets))


class WarmupCosine(tf_keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter, "SGDR", 2016)."""

    def __init__(self, peak: float, warmup_steps: int, steps: int) -> None:
        super().__init__()
        self._peak, self._warmup_steps, self._steps = peak, warmup_steps, steps

    def __call__(self, step: Any) -> Any:
        step = tf.cast(step, tf.float32) + 1.0
        progress = (step - self._warmup_steps) / max(1, self._steps - self._warmup_steps)
        cosine = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0)))
        return self._peak * tf.minimum(step / max(1, self._warmup_steps), cosine)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {"peak": self._peak, "warmup_steps": self._warmup_steps, "steps": self._steps}


class KeepBest(tf_keras.callbacks.Callback):
    """Averages the weights, measures validation after every epoch, keeps the best, and stops when it gets no better.

    What is measured and kept is the moving average of the weights over about an epoch (Polyak and Juditsky 1992):
    with few photos single steps scatter by several points. Training itself goes on from the weights as they are.

    Args:
        stage: for the history.
        measure: gives the model's quality on validation.
        patience: epochs without a better one before it stops.
        on_epoch: told every line of the history.
    """

    def __init__(
        self, stage: str, measure: Callable[[], Quality], patience: int, on_epoch: Callable[[Epoch], None]
    ) -> None:
        super().__init__()
        self._stage, self._measure, self._patience, self._on_epoch = stage, measure, patience, on_epoch
        self._average: list[NDArray[np.float32]] = []
        self._best_weights: list[NDArray[np.float32]] | None = None
        self._since_best = 0
        self.best: Quality | None = None
        self.epochs = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """The average begins where training does."""
        self._average = self.model.get_weights()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stop at once when the loss is no number: the best weights so far are still there."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.model.stop_training = True
        for average, weight in zip(self._average, self.model.get_weights(), strict=True):
            average += (1 - _AVERAGE_MOMENTUM) * (weight - average)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure, remember, decide."""
        trained = self.model.get_weights()
        self.model.set_weights(self._average)
        quality = self._measure()
        self.model.set_weights(trained)
        loss = (logs or {}).get("loss", 0.0)
        self.epochs = epoch + 1
        self._on_epoch(Epoch(self._stage, epoch + 1, _learning_rate(self.model), loss, quality))
        if not (math.isfinite(loss) and math.isfinite(quality.loss)):
            self.model.stop_training = True
        elif quality.beats(self.best):
            self.best, self._since_best = quality, 0
            self._best_weights = [weight.copy() for weight in self._average]
        else:
            self._since_best += 1
            if self._since_best >= self._patience:
                self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Put the best weights back.

        Raises:
            TrainingError: not one epoch ended with a finite loss.
        """
        if self._best_weights is None:
            raise TrainingError(
                f"the loss of stage '{self._stage}' became NaN in its first epoch; train with --weights imagenet"
            )
        self.model.set_weights(self._best_weights)


def fit(
    model: tf_keras.Model,
    examples: Examples,
    config: StageConfig,
    keep_best: KeepBest,
) -> None:
    """Train a model; it ends with its best weights."""
    steps = config.epochs * len(examples)
    schedule = WarmupCosine(config.learning_rate, round(config.warmup_fraction * steps), steps)
    model.compile(
        optimizer=tf_keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay),
        loss=tf_keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing),
    )
    model.fit(examples, epochs=config.epochs, callbacks=[keep_best], verbose=0)


def quality(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """Accuracy and mean negative log-likelihood of (n, classes) float32."""
    picked = probabilities[np.arange(len(labels)), labels]
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return Quality(accuracy, float(-np.log(np.maximum(picked, 1e-7)).mean()) if np.isfinite(picked).all() else math.nan)


def freeze_batch_norm(model: tf_keras.Model) -> None:
    """Statistics of a few hundred photos would ruin those of a million."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.trainable = False


def _learning_rate(model: tf_keras.Model) -> float:
    rate = model.optimizer.learning_rate
    return float(rate(model.optimizer.iterations) if callable(rate) else rate)
