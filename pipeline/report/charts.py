"""Figures to coordinates: the template only draws. Units are those of an SVG's view box, y downwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from pipeline.metrics import ReliabilityBin
from pipeline.report.inputs import EpochPoint

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 24, 40
_MOST_TICKS = 5
# An axis of accuracies begins here at most: what is always right still needs one.
_HIGHEST_START = 0.9


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One curve in one stage: ``points`` as SVG wants them; of a single epoch only the ``last`` point can be seen."""

    series: str
    points: str
    last: tuple[float, float]


@dataclass(frozen=True, slots=True)
class StageSpan:
    """Where a stage begins on the x axis, its name, and the middle of its span."""

    name: str
    start: float
    middle: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over the epochs of all stages."""

    title: str
    series: tuple[str, ...]
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    stages: tuple[StageSpan, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin of a reliability diagram: a bar up to the accuracy, a mark at the confidence, a bar for the count."""

    x: float
    width: float
    y: float
    mark_x: float
    mark_y: float
    count: int
    count_height: float


SQUARE = 190.0
_COUNTS_HEIGHT = 36.0


def loss_chart(history: Sequence[EpochPoint]) -> Chart | None:
    """Training and validation loss; None without any."""
    series = {
        "training": [point.train_loss for point in history],
        "validation": [point.validation_loss for point in history],
    }
    return _chart("loss (mean negative log-likelihood)", history, series, percent=False)


def accuracy_chart(history: Sequence[EpochPoint]) -> Chart | None:
    """Training and validation accuracy; None without any."""
    series = {
        "training": [point.train_accuracy for point in history],
        "validation": [point.validation_accuracy for point in history],
    }
    return _chart("accuracy", history, series, percent=True)


def reliability_bars(bins: Sequence[ReliabilityBin]) -> tuple[Bar, ...]:
    """Bars in a square of side ``SQUARE``, 0 to 1 both ways, and the counts in a strip of their own."""
    most = max((one.count for one in bins), default=1)
    return tuple(
        Bar(
            x=one.low * SQUARE,
            width=(one.high - one.low) * SQUARE,
            y=(1 - one.accuracy) * SQUARE,
            mark_x=one.confidence * SQUARE,
            mark_y=(1 - one.confidence) * SQUARE,
            count=one.count,
            count_height=max(1.0, _COUNTS_HEIGHT * one.count / most),
        )
        for one in bins
    )


def nice_ticks(low: float, high: float, most: int = _MOST_TICKS) -> list[float]:
    """Round numbers, steps of 1, 2 or 5 times a power of ten, that span ``low`` to a greater ``high``."""
    rough = (high - low) / (most - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _chart(
    title: str, history: Sequence[EpochPoint], series: dict[str, list[float | None]], percent: bool
) -> Chart | None:
    series = {name: values for name, values in series.items() if any(_is_number(value) for value in values)}
    found = [value for values in series.values() for value in values if value is not None and _is_number(value)]
    if not found:
        return None
    top = 1.0 if percent else _sensible_top(found)
    ticks = nice_ticks(min(*found, _HIGHEST_START) if percent else 0.0, top)
    scale = _Scale(len(history), ticks[0], ticks[-1])
    spans = _spans(history)
    lines = [
        _line(name, [(index, values[index]) for index in range(start, end)], scale)
        for name, values in series.items()
        for _, start, end in spans
    ]
    return Chart(
        title=title,
        series=tuple(series),
        lines=tuple(line for line in lines if line),
        x_ticks=_epoch_ticks(spans, scale),
        y_ticks=tuple(Tick(scale.y(tick), f"{100 * tick:.0f} %" if percent else f"{tick:g}") for tick in ticks),
        stages=tuple(
            StageSpan(name, scale.x(start - 0.5), (scale.x(start - 0.5) + scale.x(end - 0.5)) / 2)
            for name, start, end in spans
        ),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    epochs: int
    low: float
    high: float

    def x(self, index: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / self.epochs

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _spans(history: Sequence[EpochPoint]) -> list[tuple[str, int, int]]:
    """(stage, first index, index after the last)."""
    spans, start = [], 0
    for name, points in groupby(history, key=lambda point: point.stage):
        end = start + len(list(points))
        spans.append((name, start, end))
        start = end
    return spans


def _line(series: str, values: Sequence[tuple[int, float | None]], scale: _Scale) -> Line | None:
    points = [(scale.x(index), scale.y(value)) for index, value in values if value is not None and _is_number(value)]
    if not points:
        return None
    return Line(series, " ".join(f"{x:.1f},{y:.1f}" for x, y in points), points[-1])


def _epoch_ticks(spans: Sequence[tuple[str, int, int]], scale: _Scale) -> tuple[Tick, ...]:
    # Epochs count from 1 in every stage: the last one says how long it was, rounder ones lead there.
    ticks = []
    for _, start, end in spans:
        length = end - start
        wanted = {length, *(int(tick) for tick in nice_ticks(0, length, 4) if 1 <= tick < length * 0.85)}
        room = (scale.x(end) - scale.x(start)) / len(wanted)
        shown = sorted(wanted) if room > 18 else [length]
        ticks += [Tick(scale.x(start + epoch - 1), str(epoch)) for epoch in shown]
    return tuple(ticks)


def _sensible_top(losses: Sequence[float]) -> float:
    # The first epoch of a fresh head is far off; it must not press all that follows into a line. Curves are cut there.
    ordered = sorted(losses)
    usual = ordered[int(0.95 * (len(ordered) - 1))]
    return min(ordered[-1], 2.5 * usual) or 1.0


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
