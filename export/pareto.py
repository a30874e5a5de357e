"""Accuracy against a cost, as points of a chart; on the front is what nothing else beats in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export.gate import Outcome
from pipeline.report.charts import nice_ticks

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 200, 16, 44
_MARGIN = 0.08
_LABEL_STEP = 14.0


@dataclass(frozen=True, slots=True)
class Point:
    """One variant; x, y in pixels, ``label_y`` is where its name fits."""

    name: str
    x: float
    y: float
    label_y: float
    included: bool
    on_front: bool


@dataclass(frozen=True, slots=True)
class Plane:
    """A chart; ticks are (position in pixels, text)."""

    cost: str
    points: tuple[Point, ...]
    front: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    bottom: int = HEIGHT - _BOTTOM
    right: int = WIDTH - _RIGHT


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Indices, by rising cost, of those that no other beats: none is as cheap and better, or as good and cheaper."""
    order = sorted(range(len(costs)), key=lambda index: (costs[index], -gains[index]))
    found: list[int] = []
    for index in order:
        if not found or gains[index] > gains[found[-1]]:
            found.append(index)
    return found


def draw_plane(cost: str, outcomes: Sequence[Outcome], cost_of: Callable[[Outcome], float]) -> Plane:
    """Lay out a chart.

    Args:
        cost: what the x axis shows.
        outcomes: proved ones.
        cost_of: its figure, above 0.
    """
    costs = [cost_of(outcome) for outcome in outcomes]
    gains = [100.0 * outcome.proof.measured.accuracy for outcome in outcomes if outcome.proof is not None]
    on_x, on_y = _scale([0.0, *costs], _LEFT, WIDTH - _RIGHT), _scale(gains, HEIGHT - _BOTTOM, _TOP)
    # What stayed out is shown and beats nobody.
    running = [index for index, outcome in enumerate(outcomes) if outcome.included]
    best = [running[place] for place in front([costs[i] for i in running], [gains[i] for i in running])]
    places = [(on_x(x), on_y(y)) for x, y in zip(costs, gains, strict=True)]
    labels = _spread([y for _, y in places])
    points = tuple(
        Point(outcome.target.name, *place, label, outcome.included, index in best)
        for index, (outcome, place, label) in enumerate(zip(outcomes, places, labels, strict=True))
    )
    return Plane(
        cost,
        points,
        " ".join(f"{places[index][0]:.1f},{places[index][1]:.1f}" for index in best),
        tuple((on_x(tick), f"{tick:g}") for tick in _ticks([0.0, *costs])),
        tuple((on_y(tick), f"{tick:g} %") for tick in _ticks(gains)),
    )


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = max(high - low, 1e-6) * (1 + 2 * _MARGIN)
    first = low - span * _MARGIN
    return lambda value: start + (end - start) * (value - first) / span


def _ticks(values: Sequence[float]) -> list[float]:
    return nice_ticks(min(values, default=0.0), max(max(values, default=1.0), min(values, default=0.0) + 1e-6))


def _spread(heights: Sequence[float]) -> list[float]:
    """Heights for names beside the chart, in the same order and none on another."""
    placed = [0.0] * len(heights)
    last = _TOP - _LABEL_STEP
    for index in sorted(range(len(heights)), key=lambda index: heights[index]):
        placed[index] = last = max(heights[index], last + _LABEL_STEP)
    return placed
