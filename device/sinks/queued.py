"""A bounded queue and a thread around a sink, so that one that is slow slows neither the loop nor another."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum

from device.errors import SinkError
from device.sinks.base import Result, Sink, SinkGone, Want
from device.status import SinkStatus, Status

_DEPTH = 256
# Frames are large: a megabyte each, and more.
_FRAME_DEPTH = 16
_CLOSE_TIMEOUT_S = 5.0
# A sink that failed counts as failing for so long, and its error is not told again within that time.
_FAILING_S = 30.0


class Overflow(Enum):
    """What happens when a queue is full, and when the sink fails.

    DROP_OLDEST: a live camera does not wait; what is lost is counted. WAIT: of a file nothing is lost; the loop waits,
    and a failure ends it.
    """

    DROP_OLDEST = "drop-oldest"
    WAIT = "wait"


class QueuedSink:
    """Delivers to a sink from a thread of its own.

    Args:
        sink: open; this closes it.
        name: for people; without secrets.
        overflow: see there.
        tell: takes a line for the log when the sink begins to fail.
    """

    def __init__(self, sink: Sink, name: str, overflow: Overflow, tell: Callable[[str], None]) -> None:
        self.name = name
        self._sink = sink
        self._overflow = overflow
        self._tell = tell
        self._changed = threading.Condition()
        self._queue: deque[Result] = deque()
        self._frames = 0
        self._status: Status | None = None
        self._closing = False
        self._stopped: BaseException | None = None
        self._written = self._dropped = self._failed = 0
        self._error, self._failed_at = "", -_FAILING_S
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()

    def offer(self, result: Result) -> None:
        """Queue a result, as much of it as the sink wants.

        Raises:
            SinkGone: nobody listens any more.
            SinkError: the sink failed, and nothing may be lost.
        """
        want = self._sink.wants(result.prediction)
        with self._changed:
            if self._stopped is not None:
                raise self._stopped
            if want is Want.NOTHING:
                return
            if self._overflow is Overflow.WAIT:
                self._changed.wait_for(lambda: not self._full() or self._stopped is not None)
            while self._full():
                self._drop_oldest()
            with_frame = want is Want.FRAME
            self._frames += with_frame
            self._queue.append(result if with_frame else Result(result.prediction))
            self._changed.notify_all()

    def report(self, status: Status) -> None:
        """Hand on the state of the whole; only the newest waits."""
        with self._changed:
            self._status = status
            self._changed.notify_all()

    def status(self) -> SinkStatus:
        """Counts so far; ``error`` is the last one, for as long as the sink counts as failing."""
        with self._changed:
            return SinkStatus(
                name=self.name,
                queued=len(self._queue),
                written=self._written,
                dropped=self._dropped,
                failed=self._failed,
                error=self._error if time.monotonic() - self._failed_at < _FAILING_S else "",
            )

    def close(self) -> None:
        """Deliver what waits, within seconds, and close the sink.

        Raises:
            SinkError: the sink failed at the last, and nothing may be lost.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(None if self._overflow is Overflow.WAIT else _CLOSE_TIMEOUT_S)
        if isinstance(self._stopped, SinkError):
            raise self._stopped

    def _full(self) -> bool:
        return self._stopped is None and (len(self._queue) >= _DEPTH or self._frames >= _FRAME_DEPTH)

    def _drop_oldest(self) -> None:
        self._frames -= self._queue.popleft().frame is not None
        self._dropped += 1

    def _run(self) -> None:
        try:
            while self._deliver():
                pass
        except SinkGone as err:
            self._stop(err)
        except BaseException as err:  # offer raises it in the loop's thread
            self._stop(err)
        finally:
            self._sink.close()

    def _deliver(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._status is not None or self._closing)
            result = self._queue.popleft() if self._queue else None
            status, self._status = self._status, None
            if result is not None:
                self._frames -= result.frame is not None
                self._changed.notify_all()
            elif status is None:
                return False
        try:
            if status is not None:
                self._sink.report(status)
            if result is not None:
                self._sink.write(result)
                self._written += 1
        except SinkError as err:
            if self._overflow is Overflow.WAIT:
                raise
            self._note(err)
        return True

    def _note(self, error: SinkError) -> None:
        now = time.monotonic()
        news = now - self._failed_at >= _FAILING_S
        self._failed += 1
        self._error, self._failed_at = str(error), now
        if news:
            self._tell(f"sink {self.name}: {error}")

    def _stop(self, reason: BaseException) -> None:
        with self._changed:
            self._stopped = reason
            self._queue.clear()
            self._frames = 0
            self._changed.notify_all()
