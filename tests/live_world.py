"""A running classification for the live view's tests: a real Monitor, fed with drawn pictures from a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np

from device.cameras.base import Frame
from device.contract import ColourOrder
from device.monitor import Monitor
from device.prediction import PREDICTION_SCHEMA, Event, Prediction, StageTimes
from device.sinks.base import Result
from device.status import CameraStatus, DriftStatus, Health, ModelStatus, SinkStatus, State, Status

HEALTHY = Health(
    cpu_celsius=51.2,
    memory_available_mb=2911.0,
    memory_total_mb=3800.0,
    process_mb=171.0,
    disk_free_mb=20480.0,
    load=0.84,
)


@dataclass
class LiveWorld:
    """What it shows may be changed while it runs.

    Attributes:
        cameras: their names.
        classes: of the model.
        rate: results a second of each camera and region.
        regions: names of every camera's regions; ("",) is the whole picture.
        shown: the class that is seen; None is unknown.
        state, reasons, health, drift: as the status tells them.
        frozen: no more results come.
        size: (width, height) of the pictures.
    """

    cameras: tuple[str, ...] = ("bench",)
    classes: tuple[str, ...] = ("rose", "tulip", "daisy", "dandelion", "sunflower")
    rate: float = 25.0
    regions: tuple[str, ...] = ("",)
    shown: str | None = "rose"
    state: State = State.OK
    reasons: tuple[str, ...] = ()
    health: Health = HEALTHY
    drift: tuple[DriftStatus, ...] = ()
    sinks: tuple[SinkStatus, ...] = (SinkStatus(name="mqtt://broker/garden", written=1203),)
    frozen: bool = False
    size: tuple[int, int] = (640, 360)
    observed: int = 0
    observed_at: float | None = None
    started_at: float = field(default_factory=time.time)
    settled: dict[tuple[str, str], str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.monitor = Monitor(self.status)
        self._random = np.random.default_rng(5)
        width, height = self.size
        self._ground = cv2.resize(
            self._random.integers(40, 150, (6, 9, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
        )

    def status(self) -> Status:
        """As a runtime would put it together."""
        degraded = self.state is State.DEGRADED
        cameras = tuple(
            CameraStatus(
                name=name,
                state=State.DEGRADED if degraded and not number else State.OK,
                reason=self.reasons[0].partition(": ")[2] if degraded and not number and self.reasons else "",
                since=self.started_at,
                frames=self.observed + 17,
                classified=self.observed,
                dropped=17,
                reopened=3 if degraded else 0,
                frames_per_second=self.rate,
                age_ms=21.0,
                width=self.size[0],
                height=self.size[1],
            )
            for number, name in enumerate(self.cameras)
        )
        model = ModelStatus(
            bundle="garden",
            version="1.4.0",
            variant="tflite-static-int8",
            engine="litert",
            accelerator="cpu",
            threads=2,
            classes=self.classes,
            infer_ms=12.4,
            classified_per_second=self.rate,
        )
        return Status(
            state=self.state,
            reasons=self.reasons,
            at=time.time(),
            started_at=self.started_at,
            progressed_at=self.observed_at,
            cameras=cameras,
            model=model,
            health=self.health,
            drift=self.drift,
            sinks=self.sinks,
        )

    def observe(self, number: int, camera: str = "") -> None:
        """One frame of a camera, with a result for each region."""
        camera = camera or self.cameras[0]
        frame = self._frame(number)
        for region in self.regions:
            self.monitor.observe(Result(self._prediction(number, camera, region, frame), frame))
            self.observed += 1
            self.observed_at = time.time()

    def past(self, seconds: float, camera: str) -> None:
        """Results of the last two minutes, as if it had run for so long."""
        for number in range(int(seconds * 20)):
            moment = time.time() - seconds + number / 20
            self.shown = self.classes[number // 260 % min(4, len(self.classes))] if number // 130 % 5 else None
            frame = self._frame(number, moment)
            for region in self.regions:
                self.monitor.observe(Result(self._prediction(number, camera, region, frame), frame))

    def _frame(self, number: int, captured_at: float | None = None) -> Frame:
        pixels = self._ground.copy()
        width, height = self.size
        centre = (int(width * (0.5 + 0.3 * np.sin(number / 20))), int(height * (0.5 + 0.2 * np.cos(number / 13))))
        cv2.circle(pixels, centre, height // 5, (70, 60, 220), -1, cv2.LINE_AA)
        cv2.circle(pixels, centre, height // 14, (60, 200, 240), -1, cv2.LINE_AA)
        cv2.putText(pixels, str(number), (12, height - 16), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
        moment = captured_at or time.time()
        return Frame(pixels, ColourOrder.BGR, number, moment, time.monotonic(), 1.0)

    def _prediction(self, number: int, camera: str, region: str, frame: Frame) -> Prediction:
        first = self.shown or self.classes[1 % len(self.classes)]
        wobble = float(self._random.normal(0, 0.02))
        p = min(0.999, (0.91 if self.shown else 0.38) + wobble)
        others = [name for name in self.classes if name != first][:4]
        rest = [(1 - p) * share for share in (0.5, 0.25, 0.15, 0.1)]
        before = self.settled.get((camera, region))
        event = None
        if self.shown != before:
            event = Event.ENTERED if before is None else Event.LEFT if self.shown is None else Event.CHANGED
        self.settled[camera, region] = self.shown
        return Prediction(
            schema=PREDICTION_SCHEMA,
            camera=camera,
            region=region,
            frame=number,
            captured_at=frame.captured_at,
            age_ms=22 + abs(wobble) * 300,
            answer=self.shown,
            probability=p,
            top=((first, p), *zip(others, rest, strict=False)),
            unknown=self.shown is None,
            event=event,
            stages_ms=StageTimes(1.0, 0.9, 12.0 + wobble * 20, 0.1),
            dropped=0,
            settled=self.shown,
            previous=before if event else None,
        )

    @contextmanager
    def running(self) -> Iterator[LiveWorld]:
        """Results come until the block ends."""
        ended = threading.Event()

        def run() -> None:
            number = 0
            while not ended.wait(1 / self.rate):
                number += 1
                for camera in () if self.frozen else self.cameras:
                    self.observe(number, camera)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join(5)
