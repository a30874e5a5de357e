"""What every camera is: a FrameSource of Frames."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from device.closing import Closing
from device.contract import ColourOrder
from device.preprocess import Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture with its origin.

    Attributes:
        pixels: (height, width, 3) uint8 in ``order``. Not to be written to.
        order: colour order of ``pixels``.
        index: 0-based number at the source; frames that were dropped leave gaps.
        captured_at: seconds since 1970, when the picture left the camera (for a file: when it was read).
        captured_monotonic: the same moment on ``time.monotonic``, for ages.
        decode_ms: milliseconds from asking for the picture to having its pixels.
        name: the file that it comes from, else empty.
        truth: the class that a virtual camera knows it shows, else None.
    """

    pixels: Pixels
    order: ColourOrder
    index: int
    captured_at: float
    captured_monotonic: float
    decode_ms: float
    name: str = ""
    truth: str | None = None


class FrameSource(Protocol):
    """An open camera or file. Read from one thread.

    ``live`` says what to do when frames come faster than they are classified: of a live source only the newest
    frame matters, of any other every frame does.
    """

    @property
    def live(self) -> bool: ...

    def read(self) -> Frame | None:
        """The next frame, or None when the source has come to its end or was interrupted.

        It returns, with or without a frame, within seconds; a source that may wait longer has a time limit of its own.

        Raises:
            CameraError: the source failed; what and what to do is in the message.
            BadFrame: this frame is of no use; the next may be.
        """

    def interrupt(self) -> None:
        """Make a ``read`` that waits in another thread return soon; the source can only be closed after it."""

    def close(self) -> None:
        """Release the device, file, child process or connection; the thread that reads calls it. Twice is allowed."""

    def __enter__(self) -> FrameSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Source(Closing):
    """Base of cameras and files whose ``read`` never waits long."""

    def interrupt(self) -> None:
        """See ``FrameSource.interrupt``."""
