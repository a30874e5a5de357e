"""Frames, predictions and states as sinks receive them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.cameras.base import Frame
from device.contract import ColourOrder
from device.prediction import PREDICTION_SCHEMA, Event, Prediction, StageTimes
from device.sinks.base import Result
from device.status import CameraStatus, ModelStatus, SinkStatus, State, Status

NOON = 1_700_000_000.0


def picture(seed: int, height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 BGR: coarse blocks of colour; seeds give pictures that differ widely."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.kron(blocks, np.ones((height // 6, width // 8, 1), np.uint8))


def frame(pixels: NDArray[np.uint8], index: int = 0, at: float = NOON, monotonic: float = 0.0) -> Frame:
    return Frame(pixels, ColourOrder.BGR, index, at, monotonic, 1.0)


def prediction(index: int = 0, at: float = NOON, **changes: Any) -> Prediction:
    """Sure of "rose", without an event, unless told otherwise."""
    fields: dict[str, Any] = {
        "schema": PREDICTION_SCHEMA,
        "camera": "scene:",
        "frame": index,
        "captured_at": at,
        "age_ms": 12.5,
        "answer": "rose",
        "probability": 0.95,
        "top": (("rose", 0.95), ("tulip", 0.05)),
        "unknown": False,
        "event": None,
        "stages_ms": StageTimes(1.0, 2.0, 3.0, 0.5),
        "dropped": 0,
        "settled": "rose",
    }
    return Prediction(**{**fields, **changes})


def entered(index: int = 0, at: float = NOON, **changes: Any) -> Prediction:
    return prediction(index, at, event=Event.ENTERED, **changes)


def result(of: Prediction, seed: int | None = None) -> Result:
    """With a picture of its own."""
    return Result(of, frame(picture(of.frame if seed is None else seed), of.frame, of.captured_at))


def status(
    state: State = State.OK, cameras: dict[str, State] | None = None, sink_error: str = "", at: float = NOON
) -> Status:
    """The state of the whole, and of each camera."""
    return Status(
        state=state,
        at=at,
        started_at=NOON,
        cameras=tuple(
            CameraStatus(name=name, state=each, since=NOON) for name, each in (cameras or {"scene:": State.OK}).items()
        ),
        model=ModelStatus(
            bundle="b", version="1", variant="v", engine="litert", accelerator="cpu", threads=1, classes=("rose",)
        ),
        sinks=(SinkStatus(name="mqtt", error=sink_error),),
    )
