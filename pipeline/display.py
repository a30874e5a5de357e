"""How long work shows its progress, and two ways to do so."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

from device.console import progress_bar, say

T = TypeVar("T")

# The time left and the note stay readable in 80 columns: the bar takes what room there is.
_BAR = "{desc} {percentage:3.0f}%|{bar}| {remaining} left{postfix}"
# A log file need not know of every epoch of a second.
_MILESTONE_EVERY_S = 10.0


class Display(Protocol):
    """Is told what is being done. One piece of work at a time."""

    def begin(self, label: str, total: int, unit: str) -> None:
        """Work of ``total`` units begins."""

    def skip(self, count: int) -> None:
        """Some units were done before: they count as done, but say nothing about the speed."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Some units are done; the note says how it stands."""

    def milestone(self, line: str) -> None:
        """A longer part, such as an epoch, is done: worth a line to those who see no bar."""

    def end(self, line: str = "") -> None:
        """The work is over; the line, if any, sums it up."""


class Silent:
    """Shows nothing. Implements ``Display``."""

    def begin(self, label: str, total: int, unit: str) -> None:
        """See ``Display``."""

    def skip(self, count: int) -> None:
        """See ``Display``."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """See ``Display``."""

    def milestone(self, line: str) -> None:
        """See ``Display``."""

    def end(self, line: str = "") -> None:
        """See ``Display``."""


class Terminal:
    """Bars and lines on standard error; where that is no terminal, a line now and then. Implements ``Display``."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._last_line = 0.0

    def begin(self, label: str, total: int, unit: str) -> None:
        """See ``Display``."""
        self._bar = progress_bar(label, total, unit)
        self._bar.bar_format = _BAR
        self._last_line = time.monotonic()

    def skip(self, count: int) -> None:
        """See ``Display``."""
        self._bar.initial = self._bar.n = count

    def advance(self, count: int = 1, note: str = "") -> None:
        """See ``Display``."""
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)

    def milestone(self, line: str) -> None:
        """See ``Display``."""
        now = time.monotonic()
        if self._bar.disable and now - self._last_line >= _MILESTONE_EVERY_S:
            self._last_line = now
            say(line)

    def end(self, line: str = "") -> None:
        """See ``Display``."""
        self._bar.close()
        if line:
            say(line)


def counted(items: Iterable[T], display: Display, note: str = "") -> Iterator[T]:
    """The same items, with the display one further after each."""
    for item in items:
        yield item
        display.advance(1, note)
