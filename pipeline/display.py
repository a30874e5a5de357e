"""How long work shows its progress, and two ways to do so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

from device.console import progress_bar, say

T = TypeVar("T")


class Display(Protocol):
    """Is told what is being done. One piece of work at a time."""

    def begin(self, label: str, total: int, unit: str) -> None:
        """Work of ``total`` units begins."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Some units are done; the note says how it stands."""

    def end(self, line: str = "") -> None:
        """The work is over; the line, if any, sums it up."""


class Silent:
    """Shows nothing. Implements ``Display``."""

    def begin(self, label: str, total: int, unit: str) -> None:
        """See ``Display``."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """See ``Display``."""

    def end(self, line: str = "") -> None:
        """See ``Display``."""


class Terminal:
    """Bars and lines on standard error. Implements ``Display``."""

    def __init__(self) -> None:
        self._bar: Any = None

    def begin(self, label: str, total: int, unit: str) -> None:
        """See ``Display``."""
        self._bar = progress_bar(label, total, unit)

    def advance(self, count: int = 1, note: str = "") -> None:
        """See ``Display``."""
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)

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
