"""How a training shows its progress, and two ways to do so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device.console import progress, progress_bar, say

# From photos, (height, width, 3) uint8 each, and a label to the same photos, shown as they are taken.
PhotoProgress = Callable[[Iterable[NDArray[np.uint8]], str], Iterable[NDArray[np.uint8]]]


def silent_photos(photos: Iterable[NDArray[np.uint8]], label: str) -> Iterable[NDArray[np.uint8]]:
    """A ``PhotoProgress`` that shows nothing."""
    return photos


def terminal_photos(photos: Iterable[NDArray[np.uint8]], label: str) -> Iterable[NDArray[np.uint8]]:
    """A ``PhotoProgress`` with a bar on standard error."""
    return progress(photos, label, unit="photo")


class Display(Protocol):
    """Is told what is being done. One piece of work at a time."""

    def begin(self, label: str, total: int, unit: str) -> None:
        """Work of ``total`` units begins."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Some units are done; the note says how it stands."""

    def end(self, line: str) -> None:
        """The work is over; the line sums it up."""


class Silent:
    """Shows nothing. Implements ``Display``."""

    def begin(self, label: str, total: int, unit: str) -> None:
        """See ``Display``."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """See ``Display``."""

    def end(self, line: str) -> None:
        """See ``Display``."""


class Terminal:
    """Bars and lines on standard error. Implements ``Display``."""

    def __init__(self) -> None:
        self._bar: Any = None

    def begin(self, label: str, total: int, unit: str) -> None:
        """See ``Display``."""
        self._bar = progress_bar(None, label, total, unit)

    def advance(self, count: int = 1, note: str = "") -> None:
        """See ``Display``."""
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)

    def end(self, line: str) -> None:
        """See ``Display``."""
        self._bar.close()
        say(line)
