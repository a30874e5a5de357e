"""Cameras that another program reads: it writes raw frames to a pipe.

No system Python packages, and no GStreamer in OpenCV.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from typing import IO

import cv2
import numpy as np

from device.cameras.address import redacted
from device.cameras.base import Frame, Source
from device.cameras.jpeg import MOST_PIXELS
from device.cameras.programs import Program
from device.contract import ColourOrder
from device.errors import CameraError
from device.preprocess import Pixels

_PIPE_BYTES = 1024 * 1024
_TERMINATE_S = 1.0
_LAST_LINES = 3
_LINE_BYTES = 300
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_HEADER_BYTES = 256
_HEADER = re.compile(rb"YUV4MPEG2 (?=.*\bC420)(?=.*\bW(\d{1,6})\b)(?=.*\bH(\d{1,6})\b)")
_FRAME_MARK = b"FRAME\n"


class ChildCamera(Source):
    """Frames from a program's standard output. Implements ``FrameSource``; live.

    The program dies with this process, also when that is killed; Linux ties it to the thread that opened it, which must
    live as long.

    Args:
        program: see there.
        timeout_s: for a frame to come.

    Raises:
        CameraError: there is no such program, or its frames would be above 67 megapixels.
    """

    live = True

    def __init__(self, program: Program, timeout_s: float = 10.0) -> None:
        self._program = program
        self._timeout_s = timeout_s
        self._mark = b"" if program.size else _FRAME_MARK
        self._size, self._bytes = (0, 0), 0
        if program.size:
            self._set_size(program.size)
        self._index = -1
        self._interrupted = False
        self._reaped = False
        self._lock = threading.Lock()
        self._child = _start(program)
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        assert self._child.stdout is not None and self._child.stderr is not None
        self._pipe = self._child.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._poll = select.poll()  # not select: it knows no descriptor above 1023
        self._poll.register(self._pipe, select.POLLIN)
        with contextlib.suppress(OSError):  # a smaller pipe works as well
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._listener = threading.Thread(target=_listen, args=(self._child.stderr, self._said), daemon=True)
        self._listener.start()

    def read(self) -> Frame | None:
        """See ``FrameSource.read``.

        Raises:
            CameraError: the program ended, or wrote no whole frame in time.
        """
        asked = time.perf_counter()
        data = self._frame()
        # More than one frame may have come: only the newest is of interest.
        while data is not None and _waiting(self._pipe) >= self._bytes:
            data = self._frame()
        if data is None:
            return None
        captured_at, captured_monotonic = time.time(), time.monotonic()
        height, width = self._size
        planes = np.frombuffer(data, np.uint8, offset=len(self._mark)).reshape(height * 3 // 2, width)
        pixels: Pixels = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)  # type: ignore[assignment]
        decode_ms = (time.perf_counter() - asked) * 1e3
        return Frame(pixels, ColourOrder.BGR, self._index, captured_at, captured_monotonic, decode_ms)

    def interrupt(self) -> None:
        """See ``FrameSource.interrupt``: the program is killed."""
        self._interrupted = True
        with self._lock:
            if not self._reaped:  # its number may be another's by then
                _signal(self._child, signal.SIGKILL)

    def close(self) -> None:
        """See ``FrameSource.close``: the program is asked to end, then made to."""
        if not self._reaped:
            _signal(self._child, signal.SIGTERM)
            _wait_unreaped(self._child.pid, _TERMINATE_S)
            with self._lock:
                # What it started itself, in its group, goes with it; until it is reaped the group's number is its own.
                _signal(self._child, signal.SIGKILL)
                self._child.wait()
                self._reaped = True
        self._listener.join(_TERMINATE_S)
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def _frame(self) -> bytearray | None:
        deadline = time.monotonic() + self._timeout_s
        if not self._bytes and not self._read_header(deadline):
            return None
        data = self._take(self._bytes, deadline)
        if data is not None:
            if not data.startswith(self._mark):
                raise CameraError(f"{self._program.name}: the frames got out of step; opening it again helps")
            self._index += 1
        return data

    def _read_header(self, deadline: float) -> bool:
        """False when interrupted."""
        header = bytearray()
        while not header.endswith(b"\n"):
            byte = self._take(1, deadline)
            if byte is None:
                return False
            header += byte
            if len(header) > _HEADER_BYTES:
                break
        found = _HEADER.match(header)
        if found is None:
            raise CameraError(
                f"{self._program.name}: something else than video came; expected a pipeline without a sink"
            )
        self._set_size((int(found[2]), int(found[1])))
        return True

    def _set_size(self, size: tuple[int, int]) -> None:
        height, width = size
        if not 0 < height * width <= MOST_PIXELS or height % 2 or width % 2:
            raise CameraError(
                f"{self._program.name}: frames of {width} x {height} pixels; expected even numbers, and at most "
                f"{MOST_PIXELS // 10**6} megapixels: set width and height"
            )
        self._size, self._bytes = size, len(self._mark) + height * width * 3 // 2

    def _take(self, count: int, deadline: float) -> bytearray | None:
        """So many bytes; None when interrupted."""
        data = bytearray(count)
        view, filled = memoryview(data), 0
        while filled < count:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise CameraError(f"{self._program.name}: no frame for {self._timeout_s:g} s{self._last_words()}")
            if not self._poll.poll(left_s * 1e3):
                continue
            got = os.readv(self._pipe, [view[filled:]])
            if got == 0:
                if self._interrupted:
                    return None
                raise CameraError(f"{self._program.name}: {self._program.argv[0]} ended{self._last_words()}")
            filled += got
        return data

    def _last_words(self) -> str:
        self._listener.join(0.2)
        said = redacted(" | ".join(self._said))
        return f"; it said: {said}" if said else "; try its command by hand"


def _wait_unreaped(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PID, pid, flags) is None and time.monotonic() < deadline:
            time.sleep(0.005)


def _start(program: Program) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def in_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before this was asked for
            os._exit(1)

    try:
        return subprocess.Popen(
            program.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            preexec_fn=in_child,
        )
    except FileNotFoundError as err:
        raise CameraError(
            f"{program.name}: {program.argv[0]} is not installed; run 'sudo apt-get install {program.package}'"
        ) from err
    except OSError as err:
        raise CameraError(f"{program.name}: {program.argv[0]} does not start: {err.strerror}") from err


def _listen(stream: IO[bytes], said: deque[str]) -> None:
    # To the end: a program whose standard error nobody reads stops when the pipe is full.
    with contextlib.suppress(OSError, ValueError):
        while line := stream.readline(_LINE_BYTES):
            if text := line.decode(errors="replace").strip():
                said.append(text)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _waiting(descriptor: int) -> int:
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
