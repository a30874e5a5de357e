"""Telling fresh frames from a backlog, by the stream's own clock."""

from __future__ import annotations

# So many frames in a row that did not come faster than they were taken: nothing is queued any more.
_STEADY_FRAMES = 3
_LATE_S = 0.15
# A stream that never slows down to its own clock is no live one: take it as it comes.
_LONGEST_BACKLOG_S = 10.0
_JUMP_S = 5.0
# Cameras' clocks are off by up to some hundred parts per million: without this, ages would grow by seconds a day.
_CLOCK_TOLERANCE = 5e-4


class Pacing:
    """Follows how far arrival lies behind the timestamps: while that shrinks, frames come from a queue.

    Args:
        frame_interval_s: between two frames, for streams whose timestamps do not go on.
    """

    def __init__(self, frame_interval_s: float) -> None:
        self._nominal = frame_interval_s
        self._first = 0.0
        self._arrived: float | None = None
        self._stamp = 0.0
        self._lag = self._least = 0.0
        self._steady = 0
        self._started = False

    def fresh(self, arrived: float, stamp: float) -> bool:
        """Take note of a frame; False when a newer one is waiting or about to.

        Args:
            arrived: seconds on ``time.monotonic``.
            stamp: seconds on the stream's clock, from anywhere.
        """
        if self._arrived is None or abs((arrived - self._arrived) - self._interval(stamp)) > _JUMP_S:
            self._restart(arrived, stamp)
            return False
        interval = self._interval(stamp)
        late_s = max(_LATE_S, 3 * interval)
        lag = self._lag + (arrived - self._arrived) - interval
        # After a pause, of the network or of the reader, the first frame is the oldest of those that waited.
        queued = lag < self._lag - interval / 4 or lag > self._lag + late_s
        self._steady = 0 if queued else self._steady + 1
        self._least = min(self._least + (arrived - self._arrived) * _CLOCK_TOLERANCE, lag)
        self._arrived, self._stamp, self._lag = arrived, stamp, lag
        steady = self._steady >= _STEADY_FRAMES
        if not self._started:
            self._started = steady or arrived - self._first > _LONGEST_BACKLOG_S
            return self._started
        return steady or self.late_s <= late_s

    @property
    def late_s(self) -> float:
        """Seconds that the newest frame took longer to arrive than the fastest one did."""
        return self._lag - self._least

    def _interval(self, stamp: float) -> float:
        passed = stamp - self._stamp
        return passed if passed > 0 else self._nominal

    def _restart(self, arrived: float, stamp: float) -> None:
        self._first, self._arrived, self._stamp = arrived, arrived, stamp
        self._lag = self._least = 0.0
        self._steady, self._started = 0, False
