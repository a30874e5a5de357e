"""Learning rates: over the steps, over the layers, and which to begin with. Imports TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.errors import TrainingError


class WarmupCosine(tf_keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter, "SGDR", 2016).

    Args:
        peak: the highest rate.
        warmup_steps: that rise to it.
        steps: in all.

    Attributes:
        multiplier: scalar float32 variable that every rate is multiplied by; see ``ReduceOnPlateau``.
    """

    def __init__(self, peak: float, warmup_steps: int, steps: int) -> None:
        super().__init__()
        self._peak, self._warmup_steps, self._steps = peak, warmup_steps, steps
        self.multiplier = tf.Variable(1.0, trainable=False, name="learning_rate_multiplier")

    def __call__(self, step: Any) -> Any:
        step = tf.cast(step, tf.float32) + 1.0
        progress = (step - self._warmup_steps) / max(1, self._steps - self._warmup_steps)
        cosine = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0)))
        return self._peak * self.multiplier * tf.minimum(step / max(1, self._warmup_steps), cosine)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {"peak": self._peak, "warmup_steps": self._warmup_steps, "steps": self._steps}


def current_learning_rate(optimizer: tf_keras.optimizers.Optimizer) -> float:
    """The rate of the last step, before any scaling per layer."""
    return float(optimizer.learning_rate.numpy())


def scale_learning_rate(optimizer: tf_keras.optimizers.Optimizer, factor: float) -> None:
    """Multiply the learning rate from now on, be it constant or a ``WarmupCosine``.

    Raises:
        TrainingError: it follows another schedule.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # mixed precision wraps the optimizer
    rate = inner._learning_rate  # the public property gives a schedule's value, not the schedule
    if isinstance(rate, WarmupCosine):
        rate = rate.multiplier
    elif isinstance(rate, tf_keras.optimizers.schedules.LearningRateSchedule):
        raise TrainingError(
            f"the learning rate follows a {type(rate).__name__}, which cannot be scaled; "
            "expected a constant or a WarmupCosine"
        )
    rate.assign(rate * factor)


@tf_keras.utils.register_keras_serializable("edgegraft")
class LayerwiseAdamW(tf_keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter 2017) whose steps, weight decay included, are scaled per variable.

    Lower layers of a pretrained network need to change less than upper ones: discriminative fine-tuning
    (Howard and Ruder 2018), layer-wise learning-rate decay (Clark et al. 2020).

    Args:
        factors: by name of the variable, such as ``block_1/kernel:0``, 1 for those not named; or a function that
            gives the factor for a name. At 0 a variable stays as it is.
        learning_rate: a number or a schedule; at factor 1.
        options: see ``tf_keras.optimizers.AdamW``; ``amsgrad`` is not supported.
    """

    def __init__(
        self,
        factors: Mapping[str, float] | Callable[[str], float],
        learning_rate: Any = 0.001,
        name: str = "LayerwiseAdamW",
        **options: Any,
    ) -> None:
        if options.pop("amsgrad", False):
            raise ValueError("LayerwiseAdamW does not support amsgrad; leave it out")
        super().__init__(learning_rate=learning_rate, name=name, **options)
        # Keras would track a mapping as part of its checkpoints.
        self._factors = factors if callable(factors) else self._no_dependency(dict(factors))
        self._scales: tuple[float, ...] = ()
        self._names: tuple[str, ...] = ()

    def build(self, var_list: list[Any]) -> None:
        """See Keras."""
        super().build(var_list)
        if not self._scales:
            self._scales = tuple(self._factor(variable.name) for variable in var_list)
            self._names = tuple(variable.name for variable in var_list)

    def update_step(self, gradient: Any, variable: Any) -> None:
        """See Keras."""
        index = self._index_dict[self._var_key(variable)]
        scale = self._scales[index]
        if scale == 0.0:
            return
        m, v, dtype = self._momentums[index], self._velocities[index], variable.dtype
        gradient = tf.convert_to_tensor(gradient)
        step = tf.cast(self.iterations + 1, dtype)
        m.assign_add((gradient - m) * (1 - self.beta_1))
        v.assign_add((tf.square(gradient) - v) * (1 - self.beta_2))
        correction = tf.sqrt(1 - tf.pow(self.beta_2, step)) / (1 - tf.pow(self.beta_1, step))
        change = correction * m / (tf.sqrt(v) + self.epsilon)
        if self._use_weight_decay(variable):
            change += self.weight_decay * variable
        variable.assign_sub(scale * tf.cast(self.learning_rate, dtype) * change)

    def get_config(self) -> dict[str, Any]:
        """See Keras. A function is written down as the factors it gave.

        Raises:
            ValueError: the function was not asked yet: the optimizer is not built.
        """
        if self._scales:
            factors = dict(zip(self._names, self._scales, strict=True))
        elif callable(self._factors):
            raise ValueError("factors of LayerwiseAdamW are a function: build the optimizer before it is serialised")
        else:
            factors = dict(self._factors)
        config = super().get_config()
        del config["amsgrad"]
        return {**config, "factors": factors}

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        """Part of ``update_step``, where it can be scaled."""

    def _factor(self, name: str) -> float:
        factor = float(self._factors(name) if callable(self._factors) else self._factors.get(name, 1.0))
        if not 0.0 <= factor < math.inf:
            raise ValueError(f"learning-rate factor {factor} of '{name}': expected a number that is not negative")
        return factor


@dataclass(frozen=True, slots=True)
class RateCurve:
    """How the loss answers to the learning rate.

    Attributes:
        rates: tested, rising; ends early where the loss exploded.
        losses: at each, smoothed.
        lowest_at: rate of the lowest loss; None where the loss fell at no rate. A solved head on a pretrained network
            takes it as its peak; a network that knows nothing yet a tenth of it, for there it lies at the brink.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    lowest_at: float | None


# Steps to either side that a loss is averaged with: batches differ more than neighbouring rates do.
_SMOOTHING = 3
# Times the lowest loss so far, if it is also twice the first: from there on it only grows.
_EXPLODED = 4.0
# Share of the first loss that the lowest must be below it: less is chance.
_FELL = 0.02


def find_learning_rate(
    model: tf_keras.Model,
    batches: Iterable[tuple[Any, Any]],
    loss: Any,
    *,
    lowest: float = 1e-5,
    highest: float = 1.0,
    steps: int = 60,
    optimizer: tf_keras.optimizers.Optimizer | None = None,
) -> RateCurve:
    """Learning-rate range test (Smith, "Cyclical Learning Rates for Training Neural Networks", 2015).

    Trains with a rate that rises exponentially from step to step, and looks where the smoothed loss is lowest. The
    place of the steepest descent, the other usual rule, hops about where batches are small.

    Args:
        model: is trained and then gets its weights back, also after an error; its own optimizer is not touched.
        batches: (inputs, targets), begun again when they run out: a few are enough.
        loss: as ``Model.compile`` takes it.
        lowest: first rate, above 0.
        highest: last rate.
        steps: at most.
        optimizer: new, with a constant rate, and used up; AdamW by default.

    Raises:
        TrainingError: there is no batch, or the loss is no number from the start.
    """
    if not 0 < lowest < highest or steps < 4 * _SMOOTHING:
        raise ValueError(
            f"rates {lowest} to {highest} in {steps} steps: expected 0 < lowest < highest, 12 steps or more"
        )
    rates: list[float] = np.geomspace(lowest, highest, steps).tolist()
    before = model.get_weights()
    try:
        losses = _range_test(_probe(model, loss, optimizer), batches, rates)
    finally:
        model.set_weights(before)
    if len(losses) < 2 * _SMOOTHING:
        raise TrainingError(
            f"the loss became {losses[-1] if losses else 'nan'} at a learning rate of only {lowest:.1g}; "
            "see that the weights are pretrained ones and the photos are not empty"
        )
    smooth = _smoothed(np.array(losses))
    best = int(smooth.argmin())
    fell = smooth[best] < (1 - _FELL) * smooth[0]
    return RateCurve(tuple(rates[: len(losses)]), tuple(smooth.tolist()), rates[best] if fell else None)


def _probe(model: tf_keras.Model, loss: Any, optimizer: tf_keras.optimizers.Optimizer | None) -> tf_keras.Model:
    """The same layers and weights, compiled on their own; Keras sees to loss scaling."""
    with model.distribute_strategy.scope():
        probe = tf_keras.Model(model.inputs, model.outputs)
        probe.compile(optimizer or tf_keras.optimizers.AdamW(), loss)
    return probe


def _range_test(probe: tf_keras.Model, batches: Iterable[tuple[Any, Any]], rates: list[float]) -> list[float]:
    losses: list[float] = []
    for rate, (inputs, targets) in zip(rates, _again_and_again(batches), strict=False):
        probe.optimizer.learning_rate.assign(rate)
        loss = float(probe.train_on_batch(inputs, targets))
        if not math.isfinite(loss) or _exploded(loss, losses):
            break
        losses.append(loss)
    return losses


def _exploded(loss: float, before: list[float]) -> bool:
    # A set that is learnt by heart has batches near zero: four times next to nothing is no explosion.
    return len(before) >= _SMOOTHING and loss > max(_EXPLODED * min(before), 2 * float(np.mean(before[:_SMOOTHING])))


def _again_and_again(batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    seen = -1
    total = 0
    while seen != total:  # else it is an iterator that gives its batches once
        seen = total
        for pair in batches:
            total += 1
            yield pair
    if not total:
        raise TrainingError("there is no batch to find a learning rate with; see that there are photos to train on")


def _smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each loss and its neighbours on both sides: unlike a moving average it does not lag behind the rate."""
    padded = np.pad(losses, _SMOOTHING, mode="edge")
    return np.convolve(padded, np.full(2 * _SMOOTHING + 1, 1 / (2 * _SMOOTHING + 1)), mode="valid")
