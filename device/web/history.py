"""The last two minutes of a camera, in steps that a chart can draw."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterable

from device.monitor import HISTORY_S, Monitor
from device.prediction import Event, Prediction
from device.status import Record

STEP_S = 0.5
# Younger predictions may still arrive for a step.
_SETTLING_S = 3.0
_LEAST_INTERVAL_S = 0.4


class Step(Record, frozen=True):
    """Half a second of one region.

    Attributes:
        at: when it begins, seconds since 1970.
        region: the part of the picture, or empty.
        label: the settled class at its end, or None.
        probability: of the most probable class at its end.
        classified: frames answered in it.
        age_ms: capture to answer, the longest.
        work_ms: preprocessing, inference and decision, the median.
        events: each with the class it is about, e.g. "entered rose", "changed to tulip".
    """

    at: float
    region: str
    label: str | None
    probability: float
    classified: int
    age_ms: float
    work_ms: float
    events: tuple[str, ...] = ()


class History:
    """Steps of each camera, brought up to date when they are asked for. Thread-safe."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._lock = threading.Lock()
        self._steps: dict[str, dict[tuple[int, str], Step]] = {}
        self._updated: dict[str, float] = {}

    def steps(self, camera: str, seconds: float) -> list[Step]:
        """A camera's steps of the last seconds, oldest first."""
        since = time.time() - min(seconds, HISTORY_S)
        with self._lock:
            self._update(camera)
            return [step for _, step in sorted(self._steps[camera].items()) if step.at + STEP_S >= since]

    def _update(self, camera: str) -> None:
        now, before = time.time(), self._updated.get(camera, 0.0)
        # Everything again after a long pause, and when the clock was set back.
        whole = not 0 <= now - before < HISTORY_S / 2
        if not whole and now - before < _LEAST_INTERVAL_S:
            return
        if whole:
            predictions = self._monitor.history(camera)
            kept = {}
        else:
            recent = self._monitor.recent(now - before + _SETTLING_S)
            predictions = tuple(each for each in recent if each.camera == camera)
            kept = {key: step for key, step in self._steps[camera].items() if step.at >= now - HISTORY_S}
        # The first step may be cut off at its start: what is known of it already stands.
        for key, step in _gather(predictions).items():
            if key not in kept or step.classified >= kept[key].classified:
                kept[key] = step
        self._steps[camera], self._updated[camera] = kept, now


def _gather(predictions: Iterable[Prediction]) -> dict[tuple[int, str], Step]:
    groups: dict[tuple[int, str], list[Prediction]] = {}
    for each in predictions:
        groups.setdefault((int(each.captured_at / STEP_S), each.region), []).append(each)
    return {key: _step(key, group) for key, group in groups.items()}


def _step(key: tuple[int, str], group: list[Prediction]) -> Step:
    last = group[-1]
    work = [each.stages_ms.preprocess + each.stages_ms.infer + each.stages_ms.decide for each in group]
    return Step(
        at=key[0] * STEP_S,
        region=key[1],
        label=last.settled,
        probability=last.probability,
        classified=len(group),
        age_ms=max(each.age_ms for each in group),
        work_ms=statistics.median(work),
        events=tuple(_told(each) for each in group if each.event),
    )


def _told(prediction: Prediction) -> str:
    if prediction.event is Event.ENTERED:
        return f"entered {prediction.settled}"
    return f"changed to {prediction.settled}" if prediction.event is Event.CHANGED else f"left {prediction.previous}"
