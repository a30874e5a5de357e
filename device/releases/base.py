"""What an installer needs of the service that runs its releases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HealthWindow:
    """What a new release must show before it is kept.

    Attributes:
        start_limit_s: until the first fresh answer.
        length_s: for how long answers must then keep coming, without a restart.
    """

    start_limit_s: float = 300.0
    length_s: float = 40.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen in a health window; ``reason`` is a sentence where it is not healthy."""

    healthy: bool
    reason: str = ""


class Service(Protocol):
    """Runs whatever ``current`` leads to."""

    def restart(self) -> None:
        """Start what ``current`` leads to now, in place of what runs."""

    def stop(self) -> None:
        """Stop it, where there is nothing good to run."""

    def watch(self, release: str, window: HealthWindow) -> Verdict:
        """Look at it for the window: ready, this very release, fresh frames, finite answers, no restart."""


class FakeService:
    """A service that records and answers what it was told to.

    Args:
        verdicts: for each ``watch`` in turn; healthy when they are used up.
        on_restart: called at every restart.
    """

    def __init__(self, verdicts: Sequence[Verdict] = (), on_restart: Callable[[], None] = lambda: None) -> None:
        self.restarts = 0
        self.stopped = False
        self._verdicts = list(verdicts)
        self._on_restart = on_restart

    def restart(self) -> None:
        self.restarts += 1
        self.stopped = False
        self._on_restart()

    def stop(self) -> None:
        self.stopped = True

    def watch(self, release: str, window: HealthWindow) -> Verdict:
        return self._verdicts.pop(0) if self._verdicts else Verdict(healthy=True)
