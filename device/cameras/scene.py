"""The virtual camera ``scene:``: traffic signs come by, and it knows which."""

from __future__ import annotations

import threading
import time

from device.cameras.base import Frame, Source
from device.contract import ColourOrder
from device.errors import CameraError
from device.scene import Film, render

_SIDES = range(64, 4097)


class SceneCamera(Source):
    """A FrameSource that draws what it sees.

    A frame's ``truth`` is the class in view (``nothing`` where there is no sign), or None while a sign comes
    or goes and cannot be held against an answer. Equal seeds, rates and sizes give equal pictures.
    """

    def __init__(
        self,
        seed: int = 0,
        fps: float = 25,
        frames: int | None = None,
        width: int = 640,
        height: int = 480,
        live: bool = True,
    ) -> None:
        """Set the scene.

        Args:
            seed: which film.
            fps: frames a second; of the film, and where live also of the clock.
            frames: how long the film is; None is without end.
            width: of the pictures, pixels.
            height: of the pictures, pixels.
            live: keep real time and drop what is not asked for in time, as a camera does; else give every
                frame as fast as it is asked for, as a file does.

        Raises:
            CameraError: an option is out of its range.
        """
        _require("seed", seed, seed >= 0, "0 or more")
        _require("fps", fps, 0 < fps <= 1000, "above 0, up to 1000")
        _require("frames", frames, frames is None or frames >= 1, "1 or more")
        _require("width", width, width in _SIDES, f"{_SIDES.start} to {_SIDES.stop - 1}")
        _require("height", height, height in _SIDES, f"{_SIDES.start} to {_SIDES.stop - 1}")
        self._film = Film(seed, fps, (height, width))
        self._size = (height, width)
        self._fps = fps
        self._frames = frames
        self._live = live
        self._next = 0
        self._started: float | None = None
        self._closed = threading.Event()

    @property
    def live(self) -> bool:
        """Whether frames that were not read in time are gone."""
        return self._live

    def read(self) -> Frame | None:
        """The next frame; live, the newest that is due, or after a wait the one that comes next.

        Returns:
            None after the film's last frame, or when the camera was closed, also while waiting.
        """
        asked = time.monotonic()
        index = self._index_at(asked)
        if self._closed.is_set() or (self._frames is not None and index >= self._frames):
            return None
        shot = self._film.shot(index)
        pixels = render(shot.view, self._size)
        pixels.flags.writeable = False
        decode_ms = (time.monotonic() - asked) * 1000
        if self._closed.wait(self._seconds_until(index)):
            return None
        self._next = index + 1
        return Frame(
            pixels=pixels,
            order=ColourOrder.BGR,
            index=index,
            captured_at=time.time(),
            captured_monotonic=time.monotonic(),
            decode_ms=decode_ms,
            truth=shot.truth,
        )

    def interrupt(self) -> None:
        """End the film; a ``read`` that waits in another thread returns None at once."""
        self._closed.set()

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._closed.set()

    def _index_at(self, now: float) -> int:
        if not self._live:
            return self._next
        if self._started is None:
            # The clock starts with the first read, or the time until then would count as dropped frames.
            self._started = now
        return max(self._next, int((now - self._started) * self._fps))

    def _seconds_until(self, index: int) -> float:
        if self._started is None:
            return 0.0
        return max(0.0, self._started + index / self._fps - time.monotonic())


def _require(option: str, value: float | None, holds: bool, expected: str) -> None:
    if not holds:
        raise CameraError(f"scene: has {option}={value}; expected {expected}")
