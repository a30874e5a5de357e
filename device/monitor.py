"""What is known of a running classification at this moment, for everything that looks at it from other threads."""

from __future__ import annotations

import queue
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from device.prediction import Prediction
from device.sinks.base import Result
from device.status import Status

# What the live view's charts show.
HISTORY_S = 120.0
_HISTORY_MOST = 6000
_SUBSCRIPTION_DEPTH = 32


class Subscription:
    """Predictions as they come, for one reader. When the reader is slow the oldest are dropped."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Prediction] = queue.Queue(_SUBSCRIPTION_DEPTH)
        self.dropped = 0

    def offer(self, prediction: Prediction) -> None:
        """Add one, at once."""
        while True:
            try:
                self._queue.put_nowait(prediction)
                return
            except queue.Full:
                with suppress(queue.Empty):
                    self._queue.get_nowait()
                    self.dropped += 1

    def take(self, timeout_s: float) -> Prediction | None:
        """The next one, or None when none came in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None


class Monitor:
    """Thread-safe; ``observe`` is quick, for the loop calls it for every frame.

    Args:
        status: puts a status together; called by whoever asks for one.
    """

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status
        self._lock = threading.Lock()
        self._latest: dict[tuple[str, str], Result] = {}
        self._history: deque[Prediction] = deque(maxlen=_HISTORY_MOST)
        self._subscriptions: set[Subscription] = set()

    def observe(self, result: Result) -> None:
        """Take notice of a result with its frame."""
        prediction = result.prediction
        with self._lock:
            self._latest[prediction.camera, prediction.region] = result
            self._history.append(prediction)
            subscriptions = tuple(self._subscriptions)
        for subscription in subscriptions:
            subscription.offer(prediction)

    def status(self) -> Status:
        """The state of the whole, now."""
        return self._status()

    def latest(self, camera: str) -> tuple[Result, ...]:
        """The newest result of each of a camera's regions, all of the newest frame or of one before; empty at first."""
        with self._lock:
            return tuple(result for (name, _), result in self._latest.items() if name == camera)

    def history(self, camera: str, seconds: float = HISTORY_S) -> tuple[Prediction, ...]:
        """A camera's predictions of the last seconds, oldest first."""
        since = time.time() - seconds
        with self._lock:
            return tuple(past for past in self._history if past.camera == camera and past.captured_at >= since)

    def recent(self, seconds: float = 5.0) -> tuple[Prediction, ...]:
        """All cameras' predictions of the last seconds, oldest first."""
        since = time.time() - seconds
        recent: list[Prediction] = []
        with self._lock:
            for past in reversed(self._history):
                if past.captured_at < since:
                    break
                recent.append(past)
        return tuple(reversed(recent))

    def infer_ms(self) -> float | None:
        """Median time of an inference over the last seconds."""
        recent = self.recent()
        return statistics.median(past.stages_ms.infer for past in recent) if recent else None

    def subscribe(self) -> Subscription:
        """Predictions from now on; ``unsubscribe`` ends it."""
        subscription = Subscription()
        with self._lock:
            self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End it; twice is allowed."""
        with self._lock:
            self._subscriptions.discard(subscription)
