"""RTSP cameras, by the FFmpeg inside OpenCV."""

from __future__ import annotations

import contextlib
import enum
import os
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from device.cameras.address import Address, parse_address
from device.cameras.base import Frame, Source
from device.cameras.hangup import Hangup, hangups_since, socket_inodes
from device.cameras.jpeg import MOST_PIXELS, decode_jpeg
from device.cameras.pacing import Pacing
from device.cameras.rtsp_check import rtsp_status
from device.contract import ColourOrder
from device.errors import BadFrame, CameraError
from device.preprocess import Pixels

_SCHEMES = ("rtsp", "rtsps")
_ENVIRONMENT = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Read when OpenCV first uses FFmpeg; -8 is AV_LOG_QUIET. What fails is said here, once and without addresses.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# OpenCV has a lock of its own around opening; this one covers the environment and the search for the new sockets.
_OPENING = threading.Lock()
# A packet that does not decode and the stream's end look alike, but only the end lasts.
_MOST_FAILURES = 5
_USUAL_FPS = 25.0


class Transport(enum.Enum):
    """How the frames travel."""

    TCP = "tcp"
    UDP = "udp"


class RtspCamera(Source):
    """A stream of H.264, H.265 or MJPEG. Implements ``FrameSource``; live.

    What the server has queued is discarded until frames come as fast as the stream's clock goes and no faster, after
    opening and after every pause; a frame that was on its way for longer than the fastest one has an older
    ``captured_at``.

    Args:
        uri: ``rtsp://`` or ``rtsps://``, with credentials where the camera wants them. ``rtsps`` encrypts; it does not
            check the certificate, as FFmpeg does not.
        transport: TCP loses nothing; UDP is for servers that offer nothing else.
        timeout_s: to connect, and between two frames.
        fps: frames above this rate are not converted to pixels; None takes all.
        want: (height, width) in pixels that MJPEG frames may be reduced to while decoding; H.264 comes in full.

    Raises:
        CameraError: not reached, credentials missing or refused, or no such stream.
    """

    live = True

    def __init__(
        self,
        uri: str,
        *,
        transport: Transport | str = Transport.TCP,
        timeout_s: float = 5.0,
        fps: float | None = None,
        want: tuple[int, int] | None = None,
    ) -> None:
        address = parse_address(uri, _SCHEMES)
        self._name = address.name
        self._timeout_s = timeout_s
        self._want = want
        self._interval_s = 1 / fps if fps else 0.0
        self._due = 0.0
        self._index = -1
        self._failures = 0
        self._interrupted = threading.Event()
        self._capture, self._hangups = _open(uri, address, _transport(transport), timeout_s)
        self._encoded = self._capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"MJPG") and bool(
            self._capture.set(cv2.CAP_PROP_FORMAT, -1)
        )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._pacing = Pacing(1 / (rate if 1 <= rate <= 240 else _USUAL_FPS))

    def read(self) -> Frame | None:
        """See ``FrameSource.read``.

        Raises:
            CameraError: the stream ended or stalled.
            BadFrame: frames were lost on the way, or this one is damaged.
        """
        asked = time.perf_counter()
        while self._grab():
            arrived = time.monotonic()
            fresh = self._pacing.fresh(arrived, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
            if not fresh or arrived < self._due:
                continue
            self._due = max(self._due + self._interval_s, arrived)
            late_s = self._pacing.late_s
            captured_at = time.time() - late_s
            pixels = self._pixels()
            decode_ms = (time.perf_counter() - asked) * 1e3
            return Frame(pixels, ColourOrder.BGR, self._index, captured_at, arrived - late_s, decode_ms)
        return None

    def interrupt(self) -> None:
        """See ``FrameSource.interrupt``: at once on Linux, elsewhere within ``timeout_s``."""
        self._interrupted.set()
        for hangup in self._hangups:
            hangup.cut()

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._capture.release()
        for hangup in self._hangups:
            hangup.cut()
            hangup.close()

    def _grab(self) -> bool:
        """Wait for the next frame; False when interrupted."""
        while not self._interrupted.is_set():
            asked = time.monotonic()
            grabbed = self._capture.grab()
            # After a time-out FFmpeg hands over what its decoder had kept, once, as if it had just come.
            if time.monotonic() - asked >= 0.95 * self._timeout_s and not self._interrupted.is_set():
                raise CameraError(f"{self._name}: no frame for {self._timeout_s:g} s; the camera or the network hangs")
            if grabbed:
                self._index += 1
                if not self._failures:
                    return True
                lost, self._failures = self._failures, 0
                raise BadFrame(f"{self._name}: {lost} frame(s) could not be decoded")
            self._failures += 1
            if self._failures >= _MOST_FAILURES and not self._interrupted.is_set():
                raise CameraError(f"{self._name}: the stream ended; check the camera and the network")
        return False

    def _pixels(self) -> Pixels:
        ok, data = self._capture.retrieve()
        if not ok:
            raise BadFrame(f"{self._name}: a frame could not be converted")
        if not self._encoded:
            return np.asarray(data, np.uint8)
        return decode_jpeg(np.asarray(data, np.uint8).tobytes(), self._want)[0]


def _open(uri: str, address: Address, transport: Transport, timeout_s: float) -> tuple[cv2.VideoCapture, list[Hangup]]:
    # Outside the lock: a camera that is away must not keep the others waiting.
    rtsp_status(address, "OPTIONS", timeout_s)
    limit_ms = int(timeout_s * 1000)
    options = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms),
        # More than one thread would hold back as many frames as there are threads.
        *(cv2.CAP_PROP_N_THREADS, 1),
    ]
    with _OPENING, _transport_option(transport), _opencv_silenced():
        before = socket_inodes()
        # FFmpeg knows a protocol by its name in small letters, and takes anything else for a file.
        capture = cv2.VideoCapture(address.scheme + uri[len(address.scheme) :], cv2.CAP_FFMPEG, options)
        if capture.isOpened():
            hangups = hangups_since(before, address.port)
    if not capture.isOpened():
        capture.release()
        raise CameraError(f"{address.name}: {_reason(address, transport, timeout_s)}")
    if capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT) > MOST_PIXELS:
        capture.release()
        for hangup in hangups:
            hangup.close()
        raise CameraError(f"{address.name}: frames above {MOST_PIXELS // 10**6} megapixels; choose a smaller stream")
    return capture, hangups


def _reason(address: Address, transport: Transport, timeout_s: float) -> str:
    status = rtsp_status(address, "DESCRIBE", timeout_s)
    if status == 401 and not address.user:
        return f"asks for credentials; write {address.scheme}://USER:PASSWORD@HOST/..."
    if status == 401:
        return "the camera does not accept this user and password"
    if status == 200:
        other = Transport.TCP if transport is Transport.UDP else Transport.UDP
        return (
            f"no video within {timeout_s:g} s over {transport.value}; expected H.264, H.265 or MJPEG, "
            f"or try ?transport={other.value}"
        )
    return f"no such stream there (status {status}); check the path"


def _transport(value: Transport | str) -> Transport:
    try:
        return Transport(value)
    except ValueError as err:
        raise CameraError(f"transport is {value!r}; expected {' or '.join(item.value for item in Transport)}") from err


@contextlib.contextmanager
def _transport_option(transport: Transport) -> Iterator[None]:
    # The only way there is. It is passed by the environment of this process, never with credentials in it.
    saved = os.environ.get(_ENVIRONMENT)
    os.environ[_ENVIRONMENT] = f"rtsp_transport;{transport.value}"
    try:
        yield
    finally:
        if saved is None:
            del os.environ[_ENVIRONMENT]
        else:
            os.environ[_ENVIRONMENT] = saved


@contextlib.contextmanager
def _opencv_silenced() -> Iterator[None]:
    # Its warnings name the address as it was given.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
