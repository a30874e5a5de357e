"""Averaging, validation, the best weights, reasons to stop, the plateau."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from toy_models import Shuffled, build, clusters, measurer

from pipeline.callbacks.averaging import Averaging
from pipeline.callbacks.best import BestModel
from pipeline.callbacks.plateau import ReduceOnPlateau
from pipeline.callbacks.quality import Quality
from pipeline.callbacks.state import unnumbered
from pipeline.callbacks.stopping import EarlyStopping, StopAtTarget, StopOnNan
from pipeline.callbacks.storage import read_tensors
from pipeline.callbacks.validation import Validation
from pipeline.errors import TrainingError
from pipeline.learning_rate import WarmupCosine, current_learning_rate


class Figures(tf_keras.callbacks.Callback):
    """Validation figures that a test chooses, and the learning rates that came of them."""

    def __init__(self, losses: list[float], accuracy: float = 0.5) -> None:
        super().__init__()
        self._losses, self._accuracy = losses, accuracy
        self.rates: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["val_loss"], logs["val_accuracy"] = self._losses[epoch], self._accuracy
        self.rates.append(current_learning_rate(self.model.optimizer))


class Recorder(tf_keras.callbacks.Callback):
    """The weights after every step and every epoch, and the logs that the callbacks before it left."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[np.ndarray]] = []
        self.epochs: list[list[np.ndarray]] = []
        self.logs: list[dict[str, float]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.start = [weight.numpy() for weight in self.model.trainable_variables]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps.append([weight.numpy() for weight in self.model.trainable_variables])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(self.model.get_weights())
        self.logs.append(dict(logs))


def _fit(model: tf_keras.Model, callbacks: list[Any], epochs: int = 2) -> None:
    model.fit(Shuffled(*clusters()), epochs=epochs, callbacks=callbacks, shuffle=False, verbose=0)


def _averages_by_hand(recorder: Recorder, momentum: float) -> list[np.ndarray]:
    averages = [value.astype(np.float64) for value in recorder.start]
    for weights in recorder.steps:
        averages = [momentum * old + (1 - momentum) * new for old, new in zip(averages, weights, strict=True)]
    return averages


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_averages_are_those_computed_by_hand(policy: str) -> None:
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        averaging, recorder, model = Averaging(0.9), Recorder(), build()
        _fit(model, [averaging, recorder])
        by_hand = _averages_by_hand(recorder, 0.9)
        for average, expected in zip(unnumbered(averaging.state(), "average"), by_hand, strict=True):
            np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")


def test_averages_move_as_far_when_keras_runs_several_steps_per_call() -> None:
    averaging, recorder, model = Averaging(0.9), Recorder(), build()
    model.compile("sgd", "categorical_crossentropy", steps_per_execution=3)
    _fit(model, [averaging, recorder], epochs=1)
    assert len(recorder.steps) == 2
    by_hand = _averages_by_hand(recorder, 0.9**3)
    for average, expected in zip(unnumbered(averaging.state(), "average"), by_hand, strict=True):
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)


def test_averaged_weights_are_applied_and_taken_back_even_after_an_error() -> None:
    averaging, model = Averaging(0.9), build()
    _fit(model, [averaging])
    trained = model.get_weights()
    averages = unnumbered(averaging.state(), "average")
    with pytest.raises(ZeroDivisionError), averaging.applied():
        inside = [weight.numpy() for weight in model.trainable_variables]
        raise ZeroDivisionError
    for value, average in zip(inside, averages, strict=True):
        np.testing.assert_array_equal(value, average)
    for value, before in zip(model.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(value, before)


def test_momentum_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"momentum 1\.0: expected 0 <= momentum < 1"):
        Averaging(1.0)


_DISTRIBUTED = """
import sys, numpy as np, tensorflow as tf
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
import tf_keras
from toy_models import build, clusters, measurer
from test_pipeline_callbacks import Recorder, _averages_by_hand
from pipeline.callbacks.averaging import Averaging
from pipeline.callbacks.state import unnumbered
from pipeline.callbacks.validation import Validation
from pipeline.learning_rate import LayerwiseAdamW, WarmupCosine
strategy = getattr(tf.distribute, sys.argv[1])()
with strategy.scope():
    model = build()
    model.compile(LayerwiseAdamW({"hidden/kernel:0": 0.0}, WarmupCosine(1e-2, 2, 60)), "categorical_crossentropy")
    before = model.get_layer("hidden").kernel.numpy()
averaging, recorder = Averaging(0.9), Recorder()
callbacks = [averaging, Validation(measurer(model, *clusters()), averaging), recorder]
data = tf.data.Dataset.from_tensor_slices(clusters()).batch(16)
model.fit(data, epochs=3, callbacks=callbacks, verbose=0)
for average, expected in zip(unnumbered(averaging.state(), "average"), _averages_by_hand(recorder, 0.9)):
    np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)
for variable in averaging._averages:  # the same on every replica
    first, *others = [copy.numpy() for copy in strategy.experimental_local_results(variable)]
    for copy in others:
        np.testing.assert_array_equal(first, copy)
np.testing.assert_array_equal(model.get_layer("hidden").kernel.numpy(), before)
assert recorder.logs[-1]["val_accuracy"] > recorder.logs[0]["val_accuracy"], recorder.logs
print("replicas", strategy.num_replicas_in_sync)
"""


@pytest.mark.parametrize(("strategy", "replicas"), [("MirroredStrategy", 2), ("MultiWorkerMirroredStrategy", 1)])
def test_averaging_and_layer_wise_rates_on_several_replicas(strategy: str, replicas: int) -> None:
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests), str(tests.parent)])
    # A process of its own: the logical devices must be there before TensorFlow has begun.
    ran = subprocess.run(
        [sys.executable, "-c", _DISTRIBUTED, strategy],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.strip() == f"replicas {replicas}"


def test_validation_measures_the_averaged_weights_and_the_history_has_them() -> None:
    averaging, model = Averaging(0.99), build()
    photos = clusters(seed=5)
    seen: list[float] = []

    class Plain(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(measurer(model, *photos)().loss)

    _fit(model, [averaging, Validation(measurer(model, *photos), averaging), Plain()])
    # After twelve steps the average lags behind: its loss is another, and it is the one that Keras' history tells.
    assert model.history.history["val_loss"][-1] > seen[-1] + 0.05
    with averaging.applied():
        assert model.history.history["val_loss"][-1] == pytest.approx(measurer(model, *photos)().loss)


def test_best_weights_come_back_and_lie_in_the_file(tmp_path: Path) -> None:
    best, recorder, model = BestModel("toy", tmp_path / "best.safetensors"), Recorder(), build()
    _fit(model, [Figures([0.9, 0.4, 0.7, math.nan, 0.4]), best, recorder], epochs=5)
    assert best.best == Quality(0.5, 0.4)
    assert (best.best_epoch, best.epochs) == (2, 5)
    tensors, about = read_tensors(tmp_path / "best.safetensors")
    assert about == {"stage": "toy", "epoch": "2", "val_loss": "0.4"}
    for value, expected, stored in zip(
        model.get_weights(), recorder.epochs[1], unnumbered(tensors, "weight"), strict=True
    ):
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(stored, expected)


def test_a_rate_that_is_far_too_high_stops_at_once_and_the_best_stays() -> None:
    class Explode(tf_keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                self.model.optimizer.learning_rate.assign(1e30)

    best, stop, recorder, model = BestModel("toy"), StopOnNan(), Recorder(), build()
    validation = Validation(measurer(model, *clusters(seed=5)))
    _fit(model, [Explode(), stop, validation, best, recorder], epochs=9)
    assert stop.stopped_because.startswith("the loss became nan in epoch 3, batch ")
    assert len(recorder.logs) == 3 and len(recorder.steps) < 18
    assert math.isnan(recorder.logs[-1]["val_loss"])
    assert best.best_epoch == 2
    for value, expected in zip(model.get_weights(), recorder.epochs[1], strict=True):
        np.testing.assert_array_equal(value, expected)


def test_nan_in_the_first_epoch_is_an_error_that_says_what_to_do() -> None:
    model = build(rate=1e30)
    with pytest.raises(
        TrainingError, match=r"stage 'toy' became NaN in its first epoch; give a lower --learning-rate, or train with"
    ):
        _fit(model, [StopOnNan(), Validation(measurer(model, *clusters())), BestModel("toy")])


def test_early_stopping_waits_as_long_as_it_was_told() -> None:
    stop, model = EarlyStopping(patience=2), build()
    _fit(model, [Figures([0.5, 0.6, 0.4, 0.4, math.nan, 0.1]), stop], epochs=6)
    assert len(model.history.epoch) == 5
    assert stop.stopped_because == "validation loss not lower for 2 epochs"


def test_stop_at_target() -> None:
    stop, model = StopAtTarget(0.8), build()
    _fit(model, [Validation(measurer(model, *clusters(seed=5))), stop], epochs=9)
    accuracies = model.history.history["val_accuracy"]
    assert accuracies[-1] >= 0.8 and max(accuracies[:-1], default=0.0) < 0.8
    assert stop.stopped_because.endswith("reached the target of 80.0%")


def test_plateau_halves_a_constant_rate() -> None:
    figures, plateau, model = Figures([0.5, 0.6, 0.6, 0.6, 0.6, 0.1]), ReduceOnPlateau(0.5, patience=2), build(1e-2)
    _fit(model, [figures, plateau], epochs=6)
    assert figures.rates == pytest.approx([1e-2, 1e-2, 1e-2, 5e-3, 5e-3, 2.5e-3])
    assert plateau.multiplier == 0.25


def test_plateau_halves_a_schedule_also_with_mixed_precision() -> None:
    def rates(losses: list[float]) -> list[float]:
        figures, model = Figures(losses), build(WarmupCosine(1e-2, 6, 24))
        _fit(model, [figures, ReduceOnPlateau(0.5, patience=1)], epochs=4)
        return figures.rates

    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        falling, flat = rates([0.4, 0.3, 0.2, 0.1]), rates([0.4, 0.4, 0.3, 0.2])
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert flat == pytest.approx([falling[0], falling[1], falling[2] / 2, falling[3] / 2])


def test_plateau_refuses_a_schedule_that_it_cannot_scale() -> None:
    model = build(tf_keras.optimizers.schedules.ExponentialDecay(1e-2, 10, 0.9))
    with pytest.raises(TrainingError, match="follows a ExponentialDecay, which cannot be scaled"):
        _fit(model, [Figures([0.1, 0.1]), ReduceOnPlateau(0.5, patience=1)])
