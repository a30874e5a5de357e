"""Schedules, rates per layer, the range test."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from toy_models import Shuffled, build, clusters

from pipeline.errors import TrainingError
from pipeline.learning_rate import LayerwiseAdamW, WarmupCosine, find_learning_rate

FACTORS = {"hidden/kernel:0": 0.0, "logits/kernel:0": 0.1}


GRADIENTS = {"hidden/kernel:0": [[0.3, -2.0]], "logits/kernel:0": [1.0, -0.01, 5.0], "logits/bias:0": [0.2]}


def _step(optimizer: tf_keras.optimizers.Optimizer, steps: int = 1) -> dict[str, np.ndarray]:
    """How far steps in a graph move variables that begin at 1."""
    variables = [tf.Variable(tf.ones_like(value), name=name[:-2]) for name, value in GRADIENTS.items()]
    optimizer.build(variables)

    @tf.function
    def apply() -> None:
        optimizer.apply_gradients([(tf.constant(GRADIENTS[variable.name]), variable) for variable in variables])

    for _ in range(steps):
        apply()
    return {variable.name: variable.numpy() - 1.0 for variable in variables}


def test_warm_up_and_cosine() -> None:
    schedule = WarmupCosine(0.2, 10, 110)
    assert float(schedule(0)) == pytest.approx(0.02)
    assert float(schedule(9)) == pytest.approx(0.2)
    assert float(schedule(59)) == pytest.approx(0.1)
    assert float(schedule(109)) == pytest.approx(0.0, abs=1e-7)
    assert WarmupCosine.from_config(schedule.get_config()).get_config() == schedule.get_config()


def test_without_factors_it_is_adamw() -> None:
    ours, keras = _step(LayerwiseAdamW({}, 1e-2, weight_decay=0.1), 5), _step(tf_keras.optimizers.AdamW(1e-2, 0.1), 5)
    for left, right in zip(ours.values(), keras.values(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("rate", [1e-2, "schedule"])
@pytest.mark.parametrize("as_function", [False, True])
def test_factors_scale_the_step_and_the_decay(rate: Any, as_function: bool) -> None:
    def optimizer(factors: dict[str, float]) -> LayerwiseAdamW:
        schedule = WarmupCosine(1e-2, 1, 50) if rate == "schedule" else rate
        return LayerwiseAdamW(
            (lambda name: factors.get(name, 1.0)) if as_function else factors, schedule, weight_decay=0.1
        )

    full, scaled = _step(optimizer({})), _step(optimizer(FACTORS))
    assert not scaled["hidden/kernel:0"].any() and full["hidden/kernel:0"].any()
    for name in set(full) - {"hidden/kernel:0"}:
        expected = FACTORS.get(name, 1.0) * full[name]
        np.testing.assert_allclose(scaled[name], expected, rtol=1e-3, atol=1e-7)


def test_factors_with_mixed_precision() -> None:
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = build()
        model.compile(LayerwiseAdamW({"hidden/kernel:0": 0.0}, 1e-2), "categorical_crossentropy")
        before = {weight.name: weight.numpy() for weight in model.trainable_variables}
        model.fit(Shuffled(*clusters()), epochs=1, verbose=0)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    moved = {weight.name for weight in model.trainable_variables if (weight.numpy() != before[weight.name]).any()}
    assert moved == set(before) - {"hidden/kernel:0"}


def test_it_can_be_written_down_and_read_back() -> None:
    optimizer = LayerwiseAdamW(FACTORS, 1e-2, weight_decay=0.1, global_clipnorm=1.0)
    again = tf_keras.optimizers.deserialize(tf_keras.optimizers.serialize(optimizer))
    assert isinstance(again, LayerwiseAdamW)
    for left, right in zip(_step(optimizer).values(), _step(again).values(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_function_is_written_down_as_what_it_gave() -> None:
    optimizer = LayerwiseAdamW(lambda name: 0.5 if "kernel" in name else 1.0, 1e-2)
    with pytest.raises(ValueError, match="build the optimizer before"):
        optimizer.get_config()
    optimizer.build([tf.Variable(1.0, name="kernel"), tf.Variable(1.0, name="bias")])
    assert optimizer.get_config()["factors"] == {"kernel:0": 0.5, "bias:0": 1.0}


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf])
def test_a_factor_that_is_none(factor: float) -> None:
    with pytest.raises(ValueError, match="expected a number that is not negative"):
        LayerwiseAdamW({"kernel:0": factor}).build([tf.Variable(1.0, name="kernel")])


@pytest.mark.parametrize("photos", [12, 96])
def test_the_rate_of_lowest_loss_lies_where_toys_learn(photos: int) -> None:
    curve = find_learning_rate(build(), Shuffled(*clusters(photos)), "categorical_crossentropy", highest=10.0)
    assert curve.lowest_at is not None and 1e-2 < curve.lowest_at < 3
    assert list(curve.rates) == sorted(curve.rates) and len(curve.losses) == len(curve.rates)


def test_a_tenth_of_it_trains_better_than_one_of_a_hundredth_or_a_hundred_times_it() -> None:
    data, model = Shuffled(*clusters()), build()
    curve = find_learning_rate(model, data, "categorical_crossentropy", highest=10.0)
    assert curve.lowest_at is not None
    start = model.get_weights()

    def loss(rate: float) -> float:
        model.set_weights(start)
        model.optimizer.learning_rate.assign(rate)
        for variable in model.optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        model.fit(data, epochs=4, verbose=0, shuffle=False)
        return float(model.evaluate(data, verbose=0))

    rate = curve.lowest_at / 10
    suggested = loss(rate)
    assert suggested < loss(rate / 100)
    assert suggested < loss(rate * 100)


def test_weights_and_optimizer_are_as_before_also_after_an_error() -> None:
    model = build()
    model.fit(Shuffled(*clusters()), epochs=1, verbose=0)
    weights, state = model.get_weights(), [variable.numpy() for variable in model.optimizer.variables]

    def broken() -> Any:
        yield from Shuffled(*clusters())
        raise OSError("the disk went away")

    find_learning_rate(model, Shuffled(*clusters()), "categorical_crossentropy", steps=20)
    with pytest.raises(OSError, match="the disk went away"):
        find_learning_rate(model, broken(), "categorical_crossentropy")
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    for before, after in zip(state, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(before, after.numpy())


def test_where_the_loss_cannot_fall_no_rate_is_named() -> None:
    inputs, targets = np.zeros((16, 8), np.float32), np.full((16, 3), 1 / 3, np.float32)
    inner = tf_keras.layers.Input((8,))
    model = tf_keras.Model(inner, tf_keras.layers.Dense(3, "softmax")(inner))
    curve = find_learning_rate(model, [(inputs, targets)], "categorical_crossentropy")
    assert curve.lowest_at is None


def test_no_batches_and_no_numbers() -> None:
    with pytest.raises(TrainingError, match="there is no batch"):
        find_learning_rate(build(), [], "categorical_crossentropy")
    inputs, targets = clusters(16)
    with pytest.raises(TrainingError, match=r"the loss became nan at a learning rate of only 1e-05"):
        find_learning_rate(build(), [(inputs * np.nan, targets)], "categorical_crossentropy")
