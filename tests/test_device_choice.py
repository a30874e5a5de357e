"""The variant that a board runs: the bundle's rule, applied to what was measured there."""

from __future__ import annotations

import pytest

from device.choice import Candidate, choose, explain
from device.contract import Choice

INT8 = Candidate("int8", latency_ms=10.0, accuracy=0.90)
FLOAT16 = Candidate("float16", latency_ms=20.0, accuracy=0.92)
FLOAT32 = Candidate("float32", latency_ms=40.0, accuracy=0.92)
ALL = (FLOAT32, INT8, FLOAT16)


@pytest.mark.parametrize(
    ("frames_per_second", "name"),
    [(None, "int8"), (60.0, "int8"), (30.0, "float16"), (20.0, "float16"), (1.0, "float16"), (500.0, "int8")],
)
def test_the_rule_picks(frames_per_second: float | None, name: str) -> None:
    assert choose(ALL, Choice(frames_per_second=frames_per_second)) == name


def test_equals_are_taken_in_the_order_of_preference() -> None:
    twin = Candidate("twin", INT8.latency_ms, INT8.accuracy)
    for rule in (Choice(), Choice(frames_per_second=30.0)):
        assert choose((twin, INT8), rule) == "twin"
        assert choose((INT8, twin), rule) == "int8"


def test_of_nothing_nothing_is_chosen() -> None:
    assert choose((), Choice()) is None
    assert choose((), Choice(frames_per_second=30.0)) is None


def test_rules_are_told_apart_in_words() -> None:
    assert explain(Choice()) == "the fastest of those that are right"
    assert "reaches 30 frames a second" in explain(Choice(frames_per_second=30.0))
