"""The chart of accuracy against a cost: who is on the front, and that what stayed out beats nobody."""

from __future__ import annotations

import numpy as np
import pytest

from device.contract import Decision, EngineKind, Measured, TensorSpec
from export.gate import Check, Outcome
from export.pareto import draw_plane, front
from export.parity import Proof
from export.recipe import Form, Recipe, Target

TENSOR = TensorSpec(name="t", shape=(1, 2), dtype="uint8")


def _outcome(recipe: Recipe, accuracy: float, passed: bool = True) -> Outcome:
    measured = Measured(
        photos=100,
        accuracy=accuracy,
        accuracy_low=0.5,
        accuracy_high=1.0,
        drop_points=0.0,
        worst_class_drop_points=0.0,
        agreement=1.0,
        worst_difference=0.0,
        mean_difference=0.0,
        expected_calibration_error=0.0,
        calibration_drift=0.0,
    )
    proof = Proof(measured, Decision(), np.eye(2, dtype=np.float32), TENSOR, TENSOR)
    check = Check("drop_points", 0.0, 1.0, passed, "" if passed else "too far off")
    return Outcome(Target(EngineKind.LITERT, Form(recipe)), b"x", 1, proof, None, (check,))


COSTS = {"tflite-static-int8": 1.0, "tflite-float16": 2.0, "tflite-float32": 4.0}


def _front(*outcomes: Outcome) -> set[str]:
    plane = draw_plane("cost", outcomes, lambda outcome: COSTS[outcome.target.name])
    return {point.name for point in plane.points if point.on_front}


@pytest.mark.parametrize(
    ("costs", "gains", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], [0, 1, 2]),
        ([1, 2, 3], [3, 2, 1], [0]),
        ([3, 1, 2], [5, 5, 6], [1, 2]),
        ([1, 1], [1, 2], [1]),
        ([], [], []),
    ],
)
def test_on_the_front_is_what_nothing_beats_in_both(
    costs: list[float], gains: list[float], expected: list[int]
) -> None:
    assert front(costs, gains) == expected


def test_what_stayed_out_beats_nobody() -> None:
    rest = (_outcome(Recipe.FLOAT16, 0.90), _outcome(Recipe.FLOAT32, 0.90))
    assert _front(_outcome(Recipe.STATIC_INT8, 0.90), *rest) == {"tflite-static-int8"}
    assert _front(_outcome(Recipe.STATIC_INT8, 0.90, passed=False), *rest) == {"tflite-float16"}


def test_a_chart_of_nothing_that_passed_has_no_front() -> None:
    assert _front(_outcome(Recipe.FLOAT32, 0.9, passed=False)) == set()
