"""Which variant a machine should run, from what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device.contract import Choice


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant that gave the right answers here.

    Attributes:
        name: of the variant.
        latency_ms: median of one classification here.
        accuracy: as a fraction, that the export measured.
    """

    name: str
    latency_ms: float
    accuracy: float


def choose(candidates: Sequence[Candidate], choice: Choice) -> str | None:
    """The name of the variant to run; None where there is no candidate.

    Args:
        candidates: in the order of preference, which decides between equals.
        choice: the bundle's rule.
    """
    wanted = choice.frames_per_second
    quick = [one for one in candidates if wanted is not None and 1e3 / one.latency_ms >= wanted]
    if quick:
        return min(quick, key=lambda one: (-one.accuracy, one.latency_ms)).name
    fastest = min(candidates, key=lambda one: one.latency_ms, default=None)
    return fastest.name if fastest else None


def explain(choice: Choice) -> str:
    """The rule in a few words."""
    if choice.frames_per_second is None:
        return "the fastest of those that are right"
    return f"the most accurate that reaches {choice.frames_per_second:g} frames a second, else the fastest"
