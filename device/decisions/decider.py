"""From one frame's probabilities to its answer, to what has settled, and to the event when that changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision
from device.decisions.rules import Rules
from device.decisions.settling import Settling, levels
from device.decisions.smoothing import Evidence, smoother
from device.errors import EngineError
from device.prediction import Answer, Event, decide

# Evidence older than this many windows says nothing about the frame that has come.
_GAP_WINDOWS = 3
_HOLD_INTERVALS = 3
# The probabilities are calibrated already, and thresholds are the rules'.
_PLAIN = Decision()


@dataclass(frozen=True, slots=True)
class Decided:
    """What one frame says, and what has settled.

    Attributes:
        answer: this frame's own, by the thresholds of the rules.
        settled: the class that has held long enough to be acted upon, or None.
        previous: what was settled before, where this frame has an event, else None.
        event: what ``settled`` did at this frame, else None.
    """

    answer: Answer
    settled: str | None
    previous: str | None
    event: Event | None


class Decider:
    """Decides for one region of one camera. Not for use from two threads at once.

    When frames stop coming, what has settled stays for ``Rules.hold_s``: a camera that is opened again or a scene in
    which nothing moves makes no events. After that it is forgotten at the next frame. Evidence ages
    faster: after a gap of three windows the smoothing begins anew.

    Args:
        classes: in the order of the outputs.
        decision: of the bundle's variant; its threshold holds where the rules name none.
        rules: see there.
    """

    def __init__(self, classes: tuple[str, ...], decision: Decision, rules: Rules) -> None:
        self._classes = classes
        self._number = {name: number for number, name in enumerate(classes)}
        self._rules = rules
        self._bars = levels(rules, classes, decision.unknown_threshold)
        self._smoother = smoother(rules, len(classes))
        self._settling = Settling(self._bars, rules)
        self._last_s: float | None = None
        self._interval_s = 0.0

    @property
    def settled(self) -> str | None:
        """The class that has held long enough to be acted upon, or None."""
        settled = self._settling.settled
        return None if settled is None else self._classes[settled]

    def decide(self, probabilities: NDArray[np.float32], at_s: float) -> Decided:
        """Decide about a frame.

        Args:
            probabilities: (classes,) float32 that sum to one, calibrated.
            at_s: when it was captured, seconds on ``time.monotonic``.

        Raises:
            EngineError: these are no probabilities of these classes; nothing has changed.
        """
        self._require_probabilities(probabilities)
        before = self.settled
        self._pass_time(at_s)
        guess = decide(probabilities, self._classes, _PLAIN)
        own = self._number[guess.top[0][0]]
        sure = guess.probability >= self._bars.threshold[own]
        evidence = self._smoother.update(probabilities, own if sure else None, at_s)
        self._settling.update(evidence, _leader(evidence, own), at_s)
        after = self.settled
        event = None if after == before else _event(before, after)
        answer = guess if sure else Answer(None, guess.probability, guess.top)
        return Decided(answer, after, before if event else None, event)

    def _pass_time(self, at_s: float) -> None:
        if self._last_s is not None:
            if self._stale(at_s):
                self._settling.forget()
            interval_s = at_s - self._last_s
            if interval_s > _GAP_WINDOWS * self._rules.window_s:
                self._smoother.reset()
            self._interval_s = interval_s
        self._last_s = at_s

    def _stale(self, at_s: float) -> bool:
        # A camera that is asked once a minute has not stopped after ten seconds.
        patience_s = max(self._rules.hold_s, _HOLD_INTERVALS * self._interval_s)
        return self._last_s is not None and at_s - self._last_s > patience_s

    def _require_probabilities(self, probabilities: NDArray[np.float32]) -> None:
        if probabilities.shape != (len(self._classes),):
            raise EngineError(
                f"probabilities of shape {probabilities.shape} came, expected ({len(self._classes)},): "
                "the model belongs to other classes"
            )
        if not math.isfinite(float(probabilities.sum())):
            raise EngineError("the model's probabilities are not finite; try another variant of the bundle")


def _leader(evidence: Evidence, own: int) -> int:
    # Quantised probabilities are often equal; then the frame's own answer leads, so that both agree.
    leader = int(evidence.argmax())
    return own if evidence[own] == evidence[leader] else leader


def _event(before: str | None, after: str | None) -> Event:
    if before is None:
        return Event.ENTERED
    return Event.LEFT if after is None else Event.CHANGED
