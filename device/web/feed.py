"""Predictions as server-sent events: one subscription to the monitor for all listeners."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from device.monitor import Monitor
from device.prediction import Prediction

_DRAIN_S = 0.025
_BEHIND_MOST = 128
_KEEP_ALIVE_S = 15.0


class _Message:
    """Encoded when the first listener sends it, then shared."""

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self._data: bytes | None = None

    def data(self) -> bytes:
        if self._data is None:
            self._data = b"data: " + msgspec.json.encode(self.prediction) + b"\n\n"
        return self._data


class Listener:
    """One reader. Of what it does not take in time the oldest is dropped.

    Args:
        camera: only this one's; empty for all.
        per_second: at most so many turns a second, each with the newest of every region and all
            events; 0 for every one.
    """

    def __init__(self, camera: str, per_second: float) -> None:
        self._camera = camera
        self._per_second = per_second
        self._pending: deque[_Message] = deque(maxlen=_BEHIND_MOST)
        self._changed = asyncio.Event()
        self._closed = False

    def offer(self, messages: list[_Message]) -> None:
        """Add what this one wants."""
        wanted = [each for each in messages if self._camera in ("", each.prediction.camera)]
        if wanted:
            self._pending.extend(wanted)
            self._changed.set()

    def close(self) -> None:
        """End ``chunks``."""
        self._closed = True
        self._changed.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """What to send: events in the text/event-stream format, or a comment to keep the connection."""
        yield b"retry: 2000\n\n"
        while not self._closed:
            try:
                await asyncio.wait_for(self._changed.wait(), _KEEP_ALIVE_S)
            except asyncio.TimeoutError:
                yield b": nothing new\n\n"
                continue
            self._changed.clear()
            if messages := self._take():
                yield b"".join(each.data() for each in messages)
            if self._per_second:
                await asyncio.sleep(1 / self._per_second)

    def _take(self) -> list[_Message]:
        messages = list(self._pending)
        self._pending.clear()
        if not self._per_second:
            return messages
        newest = {(each.prediction.camera, each.prediction.region): each for each in messages}
        return [each for each in messages if each.prediction.event or each in newest.values()]


class Feed:
    """Hands the monitor's predictions to listeners. Used from the event loop; costs nothing without a listener."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def listen(self, camera: str, per_second: float) -> Listener:
        """A new listener; what is newest now comes first. ``leave`` ends it."""
        listener = Listener(camera, per_second)
        self._listeners.add(listener)
        if camera:
            listener.offer([_Message(result.prediction) for result in self._monitor.latest(camera)])
        if self._task is None:
            self._task = asyncio.create_task(self._pump())
        return listener

    def leave(self, listener: Listener) -> None:
        """End it; twice is allowed."""
        listener.close()
        self._listeners.discard(listener)

    async def _pump(self) -> None:
        subscription = self._monitor.subscribe()
        try:
            while self._listeners:
                await asyncio.sleep(_DRAIN_S)
                messages = []
                while (prediction := subscription.take(0.0)) is not None:
                    messages.append(_Message(prediction))
                for listener in self._listeners:
                    listener.offer(messages)
        finally:
            self._monitor.unsubscribe(subscription)
            self._task = None
