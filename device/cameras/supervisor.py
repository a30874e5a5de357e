"""A live camera that is kept going: watched from outside its reader, opened again when it fails."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from device.cameras.base import Frame, FrameSource
from device.cameras.spec import CameraSpec
from device.errors import BadFrame, CameraError
from device.intake import Intake
from device.status import CameraStatus, State

_JOIN_TIMEOUT_S = 5.0
# A source that has nothing but bad frames must not keep a core busy until it is given up.
_BAD_FRAME_PAUSE_S = 0.005
# So many rows and columns are compared before the whole picture is.
_SAMPLES = 24


@dataclass(frozen=True, slots=True)
class Supervision:
    """When a camera is in trouble, and how it is opened again.

    Attributes:
        stall_s: no frame for so long: it is interrupted and opened again.
        first_frame_s: the same, between opening and the first frame.
        frozen_s: the same bytes for so long: it is opened again. No sensor is free of noise.
        hang_s: a read that does not return for so long after its interruption can only be ended with the process.
        back_off_s: wait before the first try, doubled with each further one.
        most_back_off_s: the longest wait.
        jitter: share of the wait that is drawn, so that many boards do not come back in step.
        steady_s: after so long with frames the wait starts small again.
        rate_window_s: over so long frames a second are counted.
        slow: share of the frame rate asked for under which a camera counts as too slow.
        most_fps: above it something is broken; the reader holds it down.
    """

    stall_s: float = 5.0
    first_frame_s: float = 15.0
    frozen_s: float = 5.0
    hang_s: float = 60.0
    back_off_s: float = 0.5
    most_back_off_s: float = 30.0
    jitter: float = 0.2
    steady_s: float = 10.0
    rate_window_s: float = 5.0
    slow: float = 1 / 3
    most_fps: float = 500.0


class BackOff:
    """How long to wait before the next try."""

    def __init__(self, supervision: Supervision, draw: Callable[[], float] = random.random) -> None:
        self._supervision = supervision
        self._draw = draw
        self._tries = 0

    def next_s(self) -> float:
        """Seconds; longer with each call."""
        of = self._supervision
        # 2**16 times the first wait is far above any limit; without the bound the power would overflow in a year.
        wait = min(of.most_back_off_s, of.back_off_s * 2.0 ** min(self._tries, 16))
        self._tries += 1
        return wait * (1 + of.jitter * (2 * self._draw() - 1))

    def reset(self) -> None:
        """The next wait is the first again."""
        self._tries = 0


class SupervisedFeed:
    """A live camera. Implements ``Feed``; it fails never, it is degraded and says so.

    Args:
        spec: how to open it.
        intake: where its frames go; ``lane`` of it.
        supervision: limits.
        tell: takes a line for the log when the camera's state changes.
    """

    def __init__(
        self,
        spec: CameraSpec,
        intake: Intake,
        lane: int,
        supervision: Supervision,
        tell: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self.skipped: dict[str, str] = {}
        self._intake = intake
        self._lane = lane
        self._limits = supervision
        self._tell = tell
        self._back_off = BackOff(supervision)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._lock = threading.Lock()
        self._source: FrameSource | None = None
        self._state, self._reason, self._since = State.STARTING, "", time.time()
        self._interrupted_at: float | None = None
        self._opened_at = self._newest_at = self._changed_at = self._next_due = 0.0
        self._newest: Frame | None = None
        self._arrivals: deque[float] = deque(maxlen=1024)
        self._frames = self._bad = self._opened = 0

    def start(self) -> None:
        """See ``Feed.start``."""
        self._thread.start()

    def check(self, now: float) -> None:
        """See ``Feed.check``."""
        with self._lock:
            source, waits = self._source, now - max(self._newest_at, self._opened_at)
            limit = self._limits.stall_s if self._newest_at > self._opened_at else self._limits.first_frame_s
            stalled = source is not None and waits > limit
            interrupt = stalled and self._interrupted_at is None
            if interrupt:
                self._interrupted_at = now
        if stalled and source is not None:
            self._degrade(f"no frame for {limit:g} s")
            if interrupt:
                source.interrupt()
        elif source is not None and self._newest_at > self._opened_at:
            self._judge_rate(now)

    @property
    def hung(self) -> bool:
        """Whether its read has not returned long after it was interrupted: only a new process helps."""
        since = self._interrupted_at
        return since is not None and time.monotonic() - since > self._limits.hang_s

    def status(self) -> CameraStatus:
        """See ``Feed.status``."""
        now = time.monotonic()
        with self._lock:
            newest = self._newest
            height, width = newest.pixels.shape[:2] if newest is not None else (0, 0)
            return CameraStatus(
                name=self.spec.name,
                state=self._state,
                reason=self._reason,
                since=self._since,
                frames=self._frames,
                bad=self._bad,
                dropped=self._intake.dropped(self._lane),
                reopened=max(0, self._opened - 1),
                frames_per_second=self._rate(now),
                age_ms=None if newest is None else round((now - newest.captured_monotonic) * 1e3, 1),
                width=width,
                height=height,
            )

    def stop(self) -> None:
        """See ``Feed.stop``."""
        self._stopping.set()
        self._intake.end(self._lane)
        with self._lock:
            source = self._source
        if source is not None:
            source.interrupt()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    if self._session():
                        break
                except CameraError as err:
                    self._degrade(str(err))
                self._stopping.wait(self._back_off.next_s())
            self._intake.end(self._lane)
        except BaseException as err:  # a bug of ours: the thread that classifies raises it
            self._intake.end(self._lane, err)

    def _session(self) -> bool:
        """From opening to closing; True when the source has come to its end."""
        with self.spec.open() as source:
            with self._lock:
                self._source, self._opened_at, self._interrupted_at = source, time.monotonic(), None
                self._opened += 1
            try:
                return self._read(source)
            finally:
                with self._lock:
                    self._source = self._interrupted_at = None

    def _read(self, source: FrameSource) -> bool:
        started = time.monotonic()
        while not self._stopping.is_set():
            try:
                frame = source.read()
            except BadFrame:
                with self._lock:
                    self._bad += 1
                frame = None
                if self._interrupted_at is None:
                    self._stopping.wait(_BAD_FRAME_PAUSE_S)
                    continue
            if self._interrupted_at is not None:
                return False
            if frame is None:
                return True
            self._take(frame)
            if not self._intake.put(self._lane, frame):
                return True
            if frame.captured_monotonic - started > self._limits.steady_s:
                self._back_off.reset()
        return True

    def _take(self, frame: Frame) -> None:
        now = time.monotonic()
        if self._newest is None or self._newest_at < self._opened_at or not _same(frame, self._newest):
            self._changed_at = now
        elif now - self._changed_at > self._limits.frozen_s:
            self._changed_at = now
            raise CameraError(f"the same picture for {self._limits.frozen_s:g} s: frozen, or its lens is covered")
        with self._lock:
            first = self._newest_at < self._opened_at
            self._frames += 1
            self._newest, self._newest_at = frame, now
            self._arrivals.append(now)
        if first:
            self._recover()
        self._next_due = max(self._next_due + 1 / self._limits.most_fps, now)
        if self._next_due > now:
            self._stopping.wait(self._next_due - now)

    def _judge_rate(self, now: float) -> None:
        rate, asked = self._rate(now), self.spec.fps
        if now - self._opened_at < 2 * self._limits.rate_window_s:
            return
        if asked is not None and rate < asked * self._limits.slow:
            self._degrade(f"too slow: {rate:.1f} frames a second where {asked:g} were asked for")
        elif rate > 0.8 * self._limits.most_fps:
            self._degrade(f"too fast: over {rate:.0f} frames a second; the driver repeats itself")
        else:
            self._recover()

    def _rate(self, now: float) -> float:
        # A copy, for the thread that reads the camera adds to it meanwhile.
        recent = [at for at in self._arrivals.copy() if now - at <= self._limits.rate_window_s]
        return round((len(recent) - 1) / (recent[-1] - recent[0]), 2) if len(recent) > 1 else 0.0

    def _degrade(self, reason: str) -> None:
        if self._turn(State.DEGRADED, reason):
            self._tell(f"camera {self.spec.name}: {reason}; trying again")

    def _recover(self) -> None:
        if self._turn(State.OK, "") and self._opened > 1:
            self._tell(f"camera {self.spec.name}: frames come again")

    def _turn(self, state: State, reason: str) -> bool:
        """True when that is news; the figures in a reason may move without being any."""
        with self._lock:
            news = self._state is not state
            if news:
                self._since = time.time()
            self._state, self._reason = state, reason
            return news


def _same(one: Frame, other: Frame) -> bool:
    if one.pixels.shape != other.pixels.shape:
        return False
    rows, columns = (max(1, side // _SAMPLES) for side in one.pixels.shape[:2])
    if not np.array_equal(one.pixels[::rows, ::columns], other.pixels[::rows, ::columns]):
        return False
    return np.array_equal(one.pixels, other.pixels)
