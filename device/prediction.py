"""From probabilities to an answer, and what is reported of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision

PREDICTION_SCHEMA = 2
_TOP = 5
# A quantised probability of 0 stands for anything under half a step of 1/256.
_LEAST = 1.0 / 512


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says about one picture.

    Attributes:
        label: the most probable class, or None when it is under the unknown threshold.
        probability: of the most probable class, calibrated, 0 to 1.
        top: up to five (class, probability), most probable first.
    """

    label: str | None
    probability: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds that one frame spent in each stage."""

    decode: float
    preprocess: float
    infer: float
    decide: float


class Event(Enum):
    """What a settled answer did at this frame.

    ENTERED: a class came where none was; LEFT: it went and none took its place; CHANGED: one class took another's.
    """

    ENTERED = "entered"
    LEFT = "left"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One classified frame, as sinks receive it.

    Attributes:
        schema: version of this record.
        camera: the camera's name; see ``device.cameras.spec``.
        region: the part of the picture, or empty for the whole.
        frame: 0-based number at the camera.
        captured_at: seconds since 1970.
        age_ms: from capture to this answer.
        answer: this frame's class, or None when unknown.
        probability: of the most probable class.
        top: up to five (class, probability).
        unknown: no class reached the threshold.
        settled: the class that has held long enough to be acted upon, or None; see ``device.decisions``.
        previous: what ``settled`` was before, where this frame has an event.
        event: what ``settled`` did at this frame, else None.
        stages_ms: where the time went.
        dropped: frames passed over so far because newer ones had come.
        name: the file that the frame comes from, if any.
        truth: what a virtual camera knows it showed.
    """

    schema: int
    camera: str
    frame: int
    captured_at: float
    age_ms: float
    answer: str | None
    probability: float
    top: tuple[tuple[str, float], ...]
    unknown: bool
    event: Event | None
    stages_ms: StageTimes
    dropped: int
    region: str = ""
    settled: str | None = None
    previous: str | None = None
    name: str = ""
    truth: str | None = None


def calibrate(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Temperature scaling: softmax of the logits divided by the temperature.

    Args:
        probabilities: (..., classes) float32 that sum to one; their logarithms serve as logits.
        temperature: 1 changes nothing.

    Returns:
        the same shape, float32, summing to one.
    """
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.maximum(probabilities, _LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scaled: NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return scaled


def decide(probabilities: NDArray[np.float32], classes: tuple[str, ...], decision: Decision) -> Answer:
    """Name the answer, or say that it is unknown.

    Args:
        probabilities: (classes,) float32 from an Engine.
        classes: in the order of the outputs.
        decision: temperature and unknown threshold of the bundle.
    """
    calibrated = calibrate(probabilities, decision.temperature)
    order = _best(calibrated, _TOP)
    top = tuple((classes[index], float(calibrated[index])) for index in order)
    label, probability = top[0]
    return Answer(label if probability >= decision.unknown_threshold else None, probability, top)


def _best(probabilities: NDArray[np.float32], count: int) -> list[int]:
    # One after another: of a thousand classes 0.01 ms. Sorting takes 0.08, and so does numpy's partition where, as
    # in quantised outputs, nearly all are equal.
    left = probabilities.copy()
    best: list[int] = []
    for _ in range(min(count, len(left))):
        best.append(int(left.argmax()))
        left[best[-1]] = -np.inf
    return best
