"""A thread that takes frames from a source to its lane of the intake."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from device.cameras.base import FrameSource
from device.cameras.spec import CameraSpec
from device.errors import BadFrame
from device.intake import Intake
from device.status import CameraStatus, State

_JOIN_TIMEOUT_S = 5.0


class Feed(Protocol):
    """Runs from ``start`` to ``stop``; everything may be called from any thread."""

    @property
    def spec(self) -> CameraSpec: ...

    @property
    def skipped(self) -> dict[str, str]:
        """Photos that could not be read, with the reason."""

    def start(self) -> None: ...

    def check(self, now: float) -> None:
        """Look at it from outside; ``now`` is ``time.monotonic()``. To be called several times a second."""

    def status(self) -> CameraStatus: ...

    def stop(self) -> None:
        """End it; what is open is closed by its own thread, for which this waits some seconds."""


class FileFeed:
    """A file or folder: read to its end, every frame of it. Implements ``Feed``; a failure ends it."""

    def __init__(self, spec: CameraSpec, intake: Intake, lane: int) -> None:
        self.spec = spec
        self.skipped: dict[str, str] = {}
        self._intake = intake
        self._lane = lane
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._source: FrameSource | None = None
        self._started = time.time()
        self._frames = self._bad = 0
        self._size = (0, 0)

    def start(self) -> None:
        """See ``Feed.start``."""
        self._thread.start()

    def check(self, now: float) -> None:
        """See ``Feed.check``: a file does not stall."""

    def status(self) -> CameraStatus:
        """See ``Feed.status``."""
        return CameraStatus(
            name=self.spec.name,
            state=State.OK if self._frames else State.STARTING,
            since=self._started,
            frames=self._frames,
            bad=self._bad,
            dropped=self._intake.dropped(self._lane),
            height=self._size[0],
            width=self._size[1],
        )

    def stop(self) -> None:
        """See ``Feed.stop``."""
        self._intake.end(self._lane)
        if (source := self._source) is not None:
            source.interrupt()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_TIMEOUT_S)

    def _run(self) -> None:
        # The thread that reads also closes: releasing a device under a blocked read crashes in the driver's library.
        try:
            with self.spec.open() as source:
                self._source = source
                self._read(source)
                self.skipped = dict(getattr(source, "skipped", {}))
            self._intake.end(self._lane)
        except BaseException as err:  # the thread that classifies raises it
            self._intake.end(self._lane, err)

    def _read(self, source: FrameSource) -> None:
        while True:
            try:
                frame = source.read()
            except BadFrame:
                self._bad += 1
                continue
            if frame is None:
                return
            self._frames += 1
            self._size = frame.pixels.shape[:2]
            if not self._intake.put(self._lane, frame):
                return
