"""The state machine behind a settled answer: hysteresis, minimum dwell, and classes that never settle."""

from __future__ import annotations

from dataclasses import dataclass

from device.decisions.rules import ClassRule, Rules, Smoothing
from device.decisions.smoothing import Evidence

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Levels:
    """Rules with all defaults filled in, per class in the order of the outputs.

    Attributes:
        threshold: probability from which a frame's own answer is this class; above 1 for a class that never is.
        enter: evidence from which the class may settle; above 1 for a class that never does.
        stay: evidence under which it may not stay settled.
        dwell_s: how long it must hold before it settles.
    """

    threshold: tuple[float, ...]
    enter: tuple[float, ...]
    stay: tuple[float, ...]
    dwell_s: tuple[float, ...]


_NEVER = 2.0


def levels(rules: Rules, classes: tuple[str, ...], unknown_threshold: float) -> Levels:
    """Fill in what the rules leave to the bundle.

    Args:
        rules: see there.
        classes: in the order of the outputs.
        unknown_threshold: of the bundle's variant.
    """
    each = [rules.classes.get(name, ClassRule()) for name in classes]
    common = unknown_threshold if rules.threshold is None else rules.threshold
    threshold = [common if rule.threshold is None else rule.threshold for rule in each]
    # A frame's own vote has passed its threshold already: of the votes, half is the majority.
    bar = [_HALF] * len(classes) if rules.smoothing is Smoothing.MAJORITY else threshold
    settles = [not rule.ignore and name not in rules.background for name, rule in zip(classes, each, strict=True)]
    return Levels(
        threshold=tuple(_NEVER if rule.ignore else value for rule, value in zip(each, threshold, strict=True)),
        enter=tuple(value if able else _NEVER for able, value in zip(settles, bar, strict=True)),
        # Under half a low threshold nothing stays, however large the hysteresis: it could never leave.
        stay=tuple(max(value - rules.hysteresis, value / 2) for value in bar),
        dwell_s=tuple(rules.dwell_s if rule.dwell_s is None else rule.dwell_s for rule in each),
    )


class Settling:
    """What has settled, by number of the class; None is nothing.

    Two changes are never closer than the dwell of the second.
    """

    def __init__(self, bars: Levels, rules: Rules) -> None:
        self._bars = bars
        self._rules = rules
        self.settled: int | None = None
        self._settled_s = 0.0
        # What may settle next, and since when it has held; the settled one itself when nothing else may.
        self._candidate: int | None = None
        self._since_s = 0.0

    def update(self, evidence: Evidence, leader: int, at_s: float) -> None:
        """Take the evidence of a frame into account.

        Args:
            evidence: (classes,) from a ``Smoother``.
            leader: the class with the most.
            at_s: seconds on a clock that never goes back.
        """
        wanted = self._wanted(evidence, leader)
        if wanted != self._candidate:
            self._candidate, self._since_s = wanted, at_s
        if wanted == self.settled:
            return
        dwell_s = self._rules.dwell_s if wanted is None else self._bars.dwell_s[wanted]
        if self.settled is not None and at_s - self._settled_s < self._rules.least_s:
            return
        if at_s - self._since_s >= dwell_s:
            self.settled, self._settled_s = wanted, at_s

    def forget(self) -> None:
        """Nothing is there, and nothing has held."""
        self.settled = self._candidate = None

    def _wanted(self, evidence: Evidence, leader: int) -> int | None:
        settled = self.settled
        most = float(evidence[leader])
        if settled is not None:
            own = float(evidence[settled])
            if own >= self._bars.stay[settled] and most < own + self._rules.hysteresis:
                return settled
        return leader if most >= self._bars.enter[leader] else None
