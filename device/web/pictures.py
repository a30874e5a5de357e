"""JPEG pictures for viewers: encoded once for all of them, and only while somebody looks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass

import cv2

from device.cameras.base import Frame
from device.contract import ColourOrder

_MOST_PER_SECOND = 12.0
_WIDEST = 960
_QUALITY = 78
# How often a newer frame is looked for.
_LOOK_S = 0.02
# A click is about a picture that was seen a moment ago.
_KEPT = 6


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A frame as viewers get it; ``number`` differs from every other's, also after a restart."""

    number: int
    jpeg: bytes
    frame: Frame

    def age_ms(self) -> int:
        """How long ago the camera took it, now."""
        return max(0, round((time.monotonic() - self.frame.captured_monotonic) * 1000))


def encode_jpeg(frame: Frame) -> bytes:
    """A frame as JPEG, at most 960 pixels wide."""
    pixels = frame.pixels
    height, width = pixels.shape[:2]
    if width > _WIDEST:
        size = (_WIDEST, max(1, round(height * _WIDEST / width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if frame.order is ColourOrder.RGB:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
    return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1].tobytes()


class _Channel:
    def __init__(self) -> None:
        self.kept: deque[Picture] = deque(maxlen=_KEPT)
        self.encoded_at = 0.0
        self.waiting: set[asyncio.Future[Picture]] = set()
        self.task: asyncio.Task[None] | None = None

    @property
    def newest(self) -> Picture | None:
        return self.kept[-1] if self.kept else None


class Pictures:
    """The newest picture of each camera. A viewer asks for one when it has taken the last: nothing queues up for a slow
    one, and it never sees an old one. Used from the event loop.

    Args:
        newest: a camera's newest frame, or None before the first; called often, quick.
        executor: encodes there.
    """

    def __init__(self, newest: Callable[[str], Frame | None], executor: Executor) -> None:
        self._newest = newest
        self._executor = executor
        self._channels: dict[str, _Channel] = {}
        self._number = time.time_ns() // 1_000_000
        self.encoded = 0

    async def other_than(self, camera: str, number: int, timeout_s: float) -> Picture | None:
        """Wait for a picture other than the one the viewer has; None when none came in time.

        Args:
            camera: one of the cameras there are.
            number: of the picture that the viewer has; 0 for none.
            timeout_s: how long to wait.
        """
        channel = self._channels.setdefault(camera, _Channel())
        current = channel.newest
        if current is not None and current.number != number and self._is_fresh(camera, channel, current):
            return current
        future: asyncio.Future[Picture] = asyncio.get_running_loop().create_future()
        channel.waiting.add(future)
        if channel.task is None:
            channel.task = asyncio.create_task(self._serve(camera, channel))
        try:
            return await asyncio.wait_for(future, timeout_s)
        except asyncio.TimeoutError:
            return None
        finally:
            channel.waiting.discard(future)

    def frame(self, camera: str, number: int | None) -> Frame | None:
        """The frame behind a picture, or the newest; None when it is gone."""
        if number is None:
            return self._newest(camera)
        channel = self._channels.get(camera)
        kept = channel.kept if channel else ()
        return next((picture.frame for picture in kept if picture.number == number), None)

    def waiting(self) -> int:
        """How many viewers wait for a picture at this moment."""
        return sum(len(channel.waiting) for channel in self._channels.values())

    async def close(self) -> None:
        """End what runs."""
        for channel in self._channels.values():
            if channel.task is not None:
                channel.task.cancel()
                with suppress(asyncio.CancelledError):
                    await channel.task

    def _is_fresh(self, camera: str, channel: _Channel, picture: Picture) -> bool:
        lately = time.monotonic() - channel.encoded_at < 1 / _MOST_PER_SECOND
        return lately or self._newest(camera) is picture.frame

    async def _serve(self, camera: str, channel: _Channel) -> None:
        try:
            while channel.waiting:
                early = channel.encoded_at + 1 / _MOST_PER_SECOND - time.monotonic()
                if early > 0:
                    await asyncio.sleep(early)
                frame = self._newest(camera)
                current = channel.newest
                if frame is None or (current is not None and frame is current.frame):
                    await asyncio.sleep(_LOOK_S)
                    continue
                channel.encoded_at = time.monotonic()
                jpeg = await asyncio.get_running_loop().run_in_executor(self._executor, encode_jpeg, frame)
                self._publish(channel, jpeg, frame)
        finally:
            channel.task = None

    def _publish(self, channel: _Channel, jpeg: bytes, frame: Frame) -> None:
        self._number += 1
        self.encoded += 1
        picture = Picture(self._number, jpeg, frame)
        channel.kept.append(picture)
        for future in channel.waiting:
            if not future.done():
                future.set_result(picture)
        channel.waiting.clear()
