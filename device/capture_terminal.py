"""``edgegraft capture`` at a terminal: the picture in coloured half blocks, one key per class."""

from __future__ import annotations

import os
import re
import select
import shutil
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import cv2
import numpy as np

from device.cameras.base import Frame
from device.capture import CaptureSession
from device.collection import bgr
from device.console import printable
from device.errors import DeviceError

# "b" and "q" are taken.
CLASS_KEYS = "123456789acdefghijklmnoprstuvwxyz"

_REFRESH_S = 0.2
_MOST_COLUMNS = 72
_TEXT_LINES = 4
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[0m\x1b[?25h\x1b[?1049l"
_HOME, _ERASE_LINE, _ERASE_BELOW, _PLAIN, _BOLD = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[0m", "\x1b[1m"
# What keys such as F5 and the arrows send; the digits and letters in it are no classes.
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)


class CaptureTerminal:
    """Draws on standard error, reads keys from standard input; both have to be a terminal.

    Args:
        session: whose camera is being read.
        camera: its name, for the person.
        burst: pictures of a burst.
        interval_s: seconds between two of them.

    Raises:
        DeviceError: more classes than keys.
    """

    def __init__(self, session: CaptureSession, camera: str, burst: int, interval_s: float) -> None:
        if len(session.classes) > len(CLASS_KEYS):
            raise DeviceError(f"{len(session.classes)} classes have no keys; up to {len(CLASS_KEYS)} do, or use --web")
        self._session = session
        self._camera = camera
        self._burst = burst
        self._interval_s = interval_s
        self._keys = dict(zip(CLASS_KEYS, session.classes, strict=False))
        self._last = session.classes[0] if len(session.classes) == 1 else None
        self._message = ""
        self._quit = False
        self._colours = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")

    def run(self) -> None:
        """Until ``q``, the end of the input or of the film, or an interrupt; the terminal is then as it was."""
        descriptor = sys.stdin.fileno()
        with _keys_one_by_one(descriptor), _other_screen():
            while not self._quit and not self._session.over:
                self._draw()
                if select.select([descriptor], [], [], _REFRESH_S)[0]:
                    self._take(os.read(descriptor, 64))

    def _take(self, typed: bytes) -> None:
        if not typed:
            self._quit = True
        for key in _SEQUENCE.sub(b"", typed).decode("utf-8", "replace"):
            self._press(key)

    def _press(self, key: str) -> None:
        if key in ("q", "\x04"):
            self._quit = True
        elif key in self._keys:
            self._last = self._keys[key]
            self._save(self._last)
        elif key in (" ", "b") and self._last is None:
            self._message = "press the key of a class first"
        elif key == " " and self._last is not None:
            self._save(self._last)
        elif key == "b" and self._last is not None:
            self._message = f"a burst of {self._burst} for {self._last} ..."
            threading.Thread(target=self._run_burst, args=(self._last,), name="burst", daemon=True).start()

    def _save(self, label: str) -> None:
        try:
            path = self._session.save(label)
        except DeviceError as err:
            self._message = str(err)
        else:
            self._message = f"saved {path}" if path else f"not saved: looks like one of the last of {label}"

    def _run_burst(self, label: str) -> None:
        try:
            saved = self._session.burst(label, self._burst, self._interval_s)
        except DeviceError as err:
            self._message = str(err)
        else:
            alike = self._burst - saved
            self._message = f"burst: {saved} saved for {label}" + (f", {alike} looked the same" if alike else "")

    def _draw(self) -> None:
        columns, lines = shutil.get_terminal_size()
        words = [line[: columns - 1] for line in self._words()]
        frame = self._session.frame()
        picture: list[str] = []
        if frame is not None and self._colours:
            picture = list(half_blocks(frame, min(columns - 1, _MOST_COLUMNS), lines - len(words) - 1))
        text = [_BOLD + words[0] + _PLAIN, *words[1:]]
        sys.stderr.write(_HOME + "".join(f"{line}{_ERASE_LINE}\r\n" for line in [*picture, *text]) + _ERASE_BELOW)
        sys.stderr.flush()

    def _words(self) -> list[str]:
        try:
            counts: Mapping[str, int] = self._session.counts()
        except DeviceError as err:
            counts, self._message = self._session.saved, str(err)
        classes = [f"[{key}] {label} {counts[label]}" for key, label in self._keys.items()]
        again = f"space: {self._last} again   " if self._last else ""
        camera = f"camera {self._camera}"
        if self._session.problem:
            camera += f": {self._session.problem}; trying again"
        elif self._session.frame() is None:
            camera += ": waits for the first picture"
        texts = [camera, "   ".join(classes), f"{again}b: burst of {self._burst}   q: quit", self._message]
        return [printable(text) for text in texts]


def half_blocks(frame: Frame, columns: int, lines: int) -> Iterator[str]:
    """A picture as lines of text, two pixels a character: the upper one its foreground, the lower its background.

    Args:
        frame: the picture, fitted into the space with its proportions.
        columns: characters a line at most.
        lines: at most.
    """
    height, width = frame.pixels.shape[:2]
    scale = min(columns / width, 2 * lines / height)
    size = max(1, round(width * scale)), max(2, round(height * scale) // 2 * 2)
    if lines < 1 or columns < 1:
        return
    small = np.asarray(cv2.resize(bgr(frame), size, interpolation=cv2.INTER_AREA))[..., ::-1]
    for upper, lower in zip(small[::2].tolist(), small[1::2].tolist(), strict=True):
        cells = (_cell(above, below) for above, below in zip(upper, lower, strict=True))
        yield "".join(cells) + _PLAIN


def _cell(above: list[int], below: list[int]) -> str:
    return "\x1b[38;2;{};{};{};48;2;{};{};{}m\N{UPPER HALF BLOCK}".format(*above, *below)


@contextmanager
def _keys_one_by_one(descriptor: int) -> Iterator[None]:
    """Keys come at once and are not shown; Ctrl-Z, which would leave the terminal like that, does nothing."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        now = termios.tcgetattr(descriptor)
        now[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(descriptor, termios.TCSADRAIN, now)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _other_screen() -> Iterator[None]:
    """The terminal's second screen; what was on the first comes back."""
    sys.stderr.write(_ENTER)
    try:
        yield
    finally:
        sys.stderr.write(_LEAVE)
        sys.stderr.flush()
