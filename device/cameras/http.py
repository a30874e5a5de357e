"""Cameras that are asked by HTTP: an MJPEG stream, or one picture after another."""

from __future__ import annotations

import http.client
import threading
import time

from device.cameras.base import Frame, Source
from device.cameras.http_client import Answer, HttpClient
from device.cameras.jpeg import decode_jpeg
from device.cameras.multipart import MultipartParser, boundary_of
from device.contract import ColourOrder
from device.errors import BadFrame, CameraError

MOST_FRAME_BYTES = 16 * 1024 * 1024
# A server that sends faster than it is read must not keep the reader from ever giving a frame.
_LONGEST_DRAIN_S = 0.1


def open_http(
    uri: str, *, fps: float | None = None, timeout_s: float = 5.0, want: tuple[int, int] | None = None
) -> MjpegCamera | SnapshotCamera:
    """Open what the address answers with: a stream, or a picture that is asked for again and again.

    Args:
        uri: ``http://`` or ``https://``, with credentials where the camera wants them.
        fps: pictures a second to ask for, 2 unless given; a stream has its own rate.
        timeout_s: to connect, and between two frames.
        want: (height, width) in pixels that frames may be reduced to while decoding; None is full size.

    Raises:
        CameraError: not reached, credentials missing or refused, or neither a stream nor a picture.
    """
    client = HttpClient(uri, timeout_s)
    try:
        answer = client.get()
        if answer.content_type.startswith("multipart/"):
            return MjpegCamera(client, answer, timeout_s, want)
        if answer.content_type.startswith("image/") or answer.content_type in ("", "application/octet-stream"):
            return SnapshotCamera(client, answer, fps or 2.0, timeout_s, want)
        answer.close()
        raise CameraError(
            f"{client.name}: answers with {answer.content_type[:60]!r}; expected multipart/x-mixed-replace (MJPEG) "
            f"or image/jpeg: look up the camera's stream or snapshot path"
        )
    except BaseException:
        client.close()
        raise


class MjpegCamera(Source):
    """An MJPEG stream. Implements ``FrameSource``; live. ``open_http`` makes it.

    Of several frames that have come only the last is decoded; the others leave a gap in ``index``.
    """

    live = True

    def __init__(self, client: HttpClient, answer: Answer, timeout_s: float, want: tuple[int, int] | None) -> None:
        self._client = client
        self._answer = answer
        self._timeout_s = timeout_s
        self._want = want
        self._parser = MultipartParser(boundary_of(answer.content_type_header), MOST_FRAME_BYTES)
        self._oversize = 0

    def read(self) -> Frame | None:
        """See ``FrameSource.read``.

        Raises:
            CameraError: the stream ended, or no frame was complete for the time limit.
            BadFrame: this one is damaged or too large.
        """
        asked = time.perf_counter()
        deadline = time.monotonic() + self._timeout_s
        while not self._client.interrupted:
            try:
                arrived = self._receive()
            except (OSError, EOFError, http.client.HTTPException, ValueError) as err:
                if self._client.interrupted:
                    return None
                raise CameraError(f"{self._client.name}: {self._ended(err)}") from None
            data = self._parser.take()
            if data is not None:
                captured_at = time.time() - (time.monotonic() - arrived)
                pixels, _ = decode_jpeg(data, self._want)
                decode_ms = (time.perf_counter() - asked) * 1e3
                index = self._parser.complete + self._parser.oversize - 1
                return Frame(pixels, ColourOrder.BGR, index, captured_at, arrived, decode_ms)
            if self._parser.oversize > self._oversize:
                self._oversize = self._parser.oversize
                raise BadFrame(f"{self._client.name}: a frame above {MOST_FRAME_BYTES >> 20} MB")
            if time.monotonic() > deadline:
                raise CameraError(f"{self._client.name}: no whole frame for {self._timeout_s:g} s")
        return None

    def interrupt(self) -> None:
        """See ``FrameSource.interrupt``."""
        self._client.interrupt()

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._answer.close()
        self._client.close()

    def _receive(self) -> float:
        """Take all that has come; when its newest frame was complete, on ``time.monotonic``."""
        started = arrived = time.monotonic()
        complete = self._parser.complete
        while True:
            data = self._answer.receive()
            if not data:
                raise EOFError
            self._parser.feed(data)
            more = self._answer.more_has_come()
            if not more:
                self._parser.take_unclosed()
            if self._parser.complete > complete:
                complete, arrived = self._parser.complete, time.monotonic()
            if not more or time.monotonic() - started > _LONGEST_DRAIN_S:
                return arrived

    def _ended(self, err: Exception) -> str:
        if isinstance(err, TimeoutError):
            return f"no frame for {self._timeout_s:g} s; the camera or the network hangs"
        return "the stream ended; check the camera and the network"


class SnapshotCamera(Source):
    """A picture that is asked for at a steady rate. Implements ``FrameSource``; live. ``open_http`` makes it."""

    live = True

    def __init__(
        self, client: HttpClient, first: Answer, fps: float, timeout_s: float, want: tuple[int, int] | None
    ) -> None:
        self._client = client
        self._first: Answer | None = first
        self._interval_s = 1 / fps
        self._timeout_s = timeout_s
        self._want = want
        self._due = time.monotonic()
        self._index = -1
        self._stop = threading.Event()

    def read(self) -> Frame | None:
        """See ``FrameSource.read``.

        Raises:
            CameraError: the camera does not answer with a picture in time.
            BadFrame: this one is damaged or too large.
        """
        if self._stop.wait(max(0.0, self._due - time.monotonic())):
            return None
        self._due = max(self._due + self._interval_s, time.monotonic())
        asked = time.perf_counter()
        try:
            answer, self._first = self._first or self._client.get(), None
            with answer:
                data = self._body(answer)
        except (OSError, http.client.HTTPException, ValueError):
            if self._stop.is_set():
                return None
            raise CameraError(f"{self._client.name}: the picture did not come whole; check the network") from None
        except BadFrame:
            raise
        except CameraError:
            if self._stop.is_set():
                return None
            raise
        if self._stop.is_set():
            return None
        captured_at = time.time() - (time.monotonic() - answer.came_at)
        self._index += 1
        pixels, _ = decode_jpeg(data, self._want)
        decode_ms = (time.perf_counter() - asked) * 1e3
        return Frame(pixels, ColourOrder.BGR, self._index, captured_at, answer.came_at, decode_ms)

    def interrupt(self) -> None:
        """See ``FrameSource.interrupt``."""
        self._stop.set()
        self._client.interrupt()

    def close(self) -> None:
        """See ``FrameSource.close``."""
        if self._first is not None:
            self._first.close()
        self._client.close()

    def _body(self, answer: Answer) -> bytes:
        data = bytearray()
        deadline = time.monotonic() + self._timeout_s
        while received := answer.receive():
            data += received
            if len(data) > MOST_FRAME_BYTES:
                raise BadFrame(f"{self._client.name}: a picture above {MOST_FRAME_BYTES >> 20} MB")
            if time.monotonic() > deadline:
                raise CameraError(f"{self._client.name}: no whole picture within {self._timeout_s:g} s")
        return bytes(data)
