"""One video file that is written frame by frame, at the pace of the pictures' own times."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import cv2

from device.errors import SinkError
from device.preprocess import Pixels


class FilmFormat(Enum):
    """What the OpenCV of PyPI can encode without a licence.

    MP4: MPEG-4 part 2; VLC and most players show it, browsers do not. WEBM: VP8; browsers show it too, for ten times
    the processor's time.
    """

    MP4 = "mp4"
    WEBM = "webm"

    @property
    def suffix(self) -> str:
        """Of the files' names."""
        return f".{self.value}"


_CODECS = {FilmFormat.MP4: "mp4v", FilmFormat.WEBM: "VP80"}


class FilmWriter:
    """Opens its file with the first picture, whose size all others are brought to.

    Args:
        path: to be written, ending in the format's suffix.
        film: the format.
        fps: frames a second.
        started_at: seconds since 1970 at which the film begins.
    """

    def __init__(self, path: Path, film: FilmFormat, fps: float, started_at: float) -> None:
        self.path = path
        self._film = film
        self._fps = fps
        self._started_at = started_at
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._last: Pixels | None = None
        self._written = 0

    def add(self, pixels: Pixels, at: float) -> None:
        """Show a (height, width, 3) uint8 BGR picture from this time on; the one before lasts until then.

        Raises:
            SinkError: the file cannot be written.
        """
        if self._writer is None:
            self._writer = self._opened(pixels)
        if pixels.shape[1::-1] != self._size:
            pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        due = round((at - self._started_at) * self._fps)
        while self._last is not None and self._written < due:
            self._write(self._last)
        if self._written <= due:
            self._write(pixels)
        self._last = pixels

    def size_bytes(self) -> int:
        """Of the file so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def finish(self) -> None:
        """Write what is left and close the file."""
        if self._writer is not None:
            self._writer.release()
        self._writer = self._last = None

    def abandon(self) -> None:
        """Close the file and remove it."""
        self.finish()
        self.path.unlink(missing_ok=True)

    def _opened(self, pixels: Pixels) -> cv2.VideoWriter:
        self._size = pixels.shape[1], pixels.shape[0]
        codec = cv2.VideoWriter.fourcc(*_CODECS[self._film])
        writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, codec, self._fps, self._size)
        if not writer.isOpened():
            self.path.unlink(missing_ok=True)
            raise SinkError(
                f"{self.path.parent}: a {self._film.value} film of {self._size[0]}x{self._size[1]} cannot be begun; "
                f"check the folder's rights and space, or take another format (?format=mp4 or webm)"
            )
        return writer

    def _write(self, pixels: Pixels) -> None:
        assert self._writer is not None
        self._writer.write(pixels)
        self._written += 1
