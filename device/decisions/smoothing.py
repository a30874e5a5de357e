"""Evidence gathered over time: frames may come at any intervals, and count by the time that they stand for."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device.decisions.rules import Rules, Smoothing

Evidence = NDArray[np.floating]


class Smoother(Protocol):
    """Gathers evidence for each class."""

    def update(self, probabilities: NDArray[np.float32], vote: int | None, at_s: float) -> Evidence:
        """Take a frame into account.

        Args:
            probabilities: (classes,) float32.
            vote: the class that this frame answers, None when unknown.
            at_s: seconds on a clock that never goes back.

        Returns:
            (classes,) 0 to 1; not to be written to, and good until the next call.
        """

    def reset(self) -> None:
        """Forget all frames."""


class Unsmoothed:
    """Each frame for itself."""

    def update(self, probabilities: NDArray[np.float32], vote: int | None, at_s: float) -> Evidence:
        """See ``Smoother.update``."""
        return probabilities

    def reset(self) -> None:
        """See ``Smoother.reset``."""


class MovingAverage:
    """Exponential moving average of the probabilities: a frame that comes ``dt`` after the one before weighs
    ``1 - exp(-dt / time_constant_s)``, as a low-pass filter in continuous time would weigh it.
    """

    def __init__(self, time_constant_s: float) -> None:
        self._time_constant_s = time_constant_s
        self._mean: NDArray[np.float64] | None = None
        self._at_s = 0.0

    def update(self, probabilities: NDArray[np.float32], vote: int | None, at_s: float) -> Evidence:
        """See ``Smoother.update``."""
        if self._mean is None:
            # float64: at 500 frames a second and a long time constant, what a frame adds is under float32's precision.
            self._mean = probabilities.astype(np.float64)
        else:
            weight = -math.expm1(min(0.0, self._at_s - at_s) / self._time_constant_s)
            self._mean += weight * (probabilities - self._mean)
        self._at_s = at_s
        return self._mean

    def reset(self) -> None:
        """See ``Smoother.reset``."""
        self._mean = None


class MajorityVote:
    """Share of the last seconds that each class was answered; a frame votes for the time since the one before.

    Args:
        classes: how many.
        window_s: seconds.
    """

    def __init__(self, classes: int, window_s: float) -> None:
        self._window_s = window_s
        self._held_s = np.zeros(classes)
        # Stretches of one vote, [begin, end, class], oldest first and without gaps.
        self._stretches: deque[tuple[float, float, int | None]] = deque()
        self._at_s: float | None = None

    def update(self, probabilities: NDArray[np.float32], vote: int | None, at_s: float) -> Evidence:
        """See ``Smoother.update``."""
        before, self._at_s = self._at_s, at_s
        if before is not None and at_s > before:
            self._append(before, at_s, vote)
            self._expire(at_s - self._window_s)
        if not self._stretches:  # the first frame stands for no time yet
            shares = np.zeros_like(self._held_s)
            if vote is not None:
                shares[vote] = 1.0
            return shares
        return self._held_s / (at_s - self._stretches[0][0])

    def reset(self) -> None:
        """See ``Smoother.reset``."""
        self._held_s[:] = 0.0
        self._stretches.clear()
        self._at_s = None

    def _append(self, begin: float, end: float, vote: int | None) -> None:
        if self._stretches and self._stretches[-1][2] == vote:
            start, _, _ = self._stretches.pop()
            self._stretches.append((start, end, vote))
        else:
            self._stretches.append((begin, end, vote))
        if vote is not None:
            self._held_s[vote] += end - begin

    def _expire(self, start: float) -> None:
        while self._stretches[0][0] < start:
            begin, end, vote = self._stretches.popleft()
            kept = min(end, start)
            if vote is not None:
                # Rounding must not leave a trace below zero.
                self._held_s[vote] = max(0.0, self._held_s[vote] - (kept - begin))
            if kept < end:
                self._stretches.appendleft((kept, end, vote))


def smoother(rules: Rules, classes: int) -> Smoother:
    """The one that the rules ask for."""
    if rules.smoothing is Smoothing.EMA:
        return MovingAverage(rules.window_s)
    if rules.smoothing is Smoothing.MAJORITY:
        return MajorityVote(classes, rules.window_s)
    return Unsmoothed()
