"""What a board takes from a server before it turns away, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Against servers that are slow, endless or send a board round in circles.

    Attributes:
        connect_timeout_s, read_timeout_s: of one attempt, and of one read.
        window_s: in which at least ``least_bytes`` must come.
        least_bytes: see ``window_s``; a slower ``rate`` lowers it.
        redirects: that are followed.
        attempts: of a transfer without a byte of progress.
        pause_s: before the second attempt; it doubles.
    """

    connect_timeout_s: float = 15.0
    read_timeout_s: float = 30.0
    window_s: float = 60.0
    least_bytes: int = 16_384
    redirects: int = 4
    attempts: int = 3
    pause_s: float = 1.0


class TooSlow(Exception):  # noqa: N818 - said of the server
    """Fewer bytes came than may."""


class Pace:
    """Holds a transfer to a rate, and ends one that is too slow.

    Args:
        rate: bytes a second; None for no limit.
        limits: see there.
        clock, sleep: seconds.
    """

    def __init__(
        self,
        rate: int | None,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._window_s = limits.window_s
        self._least = limits.least_bytes if rate is None else min(limits.least_bytes, rate * limits.window_s / 4)
        self._clock = clock
        self._sleep = sleep
        self._free_at = self._window_start = clock()
        self._window_bytes = 0

    @property
    def chunk_bytes(self) -> int:
        """How much to ask for at once: small enough that a slow rate stays even."""
        return 65_536 if self._rate is None else max(512, min(65_536, self._rate // 4))

    def took(self, count: int) -> None:
        """So many bytes came; wait until the next ones may.

        Raises:
            TooSlow: see ``Limits.window_s``.
        """
        now = self._clock()
        self._window_bytes += count
        if now - self._window_start >= self._window_s:
            if self._window_bytes < self._least:
                raise TooSlow(f"{self._window_bytes} bytes came in {now - self._window_start:.0f} s")
            self._window_start, self._window_bytes = now, 0
        if self._rate is not None:
            self._free_at = max(self._free_at, now - 1.0) + count / self._rate
            if self._free_at > now:
                self._sleep(self._free_at - now)
