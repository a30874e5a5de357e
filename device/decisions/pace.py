"""How many frames a second are classified: a cap, and the cap that a hot board sets itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

# A camera's frames come a little early or late; one that is early by less than this share of the interval is in time.
_EARLY = 0.1


class FrameRateCap:
    """Says which frames are due. The rate holds over time without drift, and no burst makes up for a pause.

    Args:
        fps: frames a second; None is no limit.
    """

    def __init__(self, fps: float | None) -> None:
        self._fps: float | None = None
        self._interval_s = 0.0
        self._due_s = -math.inf
        self._passed_s = -math.inf
        self.limit(fps)

    def limit(self, fps: float | None) -> None:
        """Change the cap from the next frame on.

        Raises:
            ValueError: not above zero.
        """
        if fps is not None and not fps > 0:
            raise ValueError(f"a frame rate of {fps}; expected more than 0, or None for no limit")
        if fps != self._fps:
            self._fps = fps
            self._interval_s = 0.0 if fps is None else 1.0 / fps
            self._due_s = self._passed_s + self._interval_s

    def due(self, at_s: float) -> bool:
        """Whether the frame of this time, in seconds on ``time.monotonic``, is to be classified; then it counts."""
        if self._fps is None:
            self._passed_s = at_s
            return True
        if at_s < self._due_s - _EARLY * self._interval_s:
            return False
        # On the grid of due times the rate does not drift with a camera whose own is no multiple of it.
        late_s = at_s - self._due_s
        self._due_s = (self._due_s if late_s < self._interval_s else at_s) + self._interval_s
        self._passed_s = at_s
        return True


class PowerLevel(Enum):
    """How much a board may do at its temperature; from cool to hot."""

    FULL = "full"
    ECO = "eco"
    MINIMAL = "minimal"


@dataclass(frozen=True, slots=True)
class PowerConfig:
    """When a hot board does less.

    A Raspberry Pi slows its CPU step by step from 80 degrees and its GPU too at 85, a 3B+ its CPU a little from 60
    (raspberrypi.com, "Frequency management and thermal control"). The defaults act before: fewer frames, each answered
    at full speed, are better than all of them late.

    Attributes:
        eco_celsius: CPU temperature from which ``eco_fps`` is the limit.
        minimal_celsius: from which ``minimal_fps`` is.
        cooler_celsius: degrees under its limit at which a level ends.
        eco_fps, minimal_fps: frames a second.
    """

    eco_celsius: float = 75.0
    minimal_celsius: float = 80.0
    cooler_celsius: float = 5.0
    eco_fps: float = 5.0
    minimal_fps: float = 1.0


class PowerMode:
    """Chooses a level by the CPU's temperature, with hysteresis."""

    def __init__(self, config: PowerConfig | None = None) -> None:
        self._config = config or PowerConfig()
        self.level = PowerLevel.FULL

    def limit(self, celsius: float | None) -> float | None:
        """The frame-rate cap at this temperature; None is no cap.

        Args:
            celsius: of the CPU; None where it is not known, which changes nothing.
        """
        if celsius is not None and math.isfinite(celsius):
            self.level = self._next(celsius)
        if self.level is PowerLevel.FULL:
            return None
        return self._config.eco_fps if self.level is PowerLevel.ECO else self._config.minimal_fps

    def _next(self, celsius: float) -> PowerLevel:
        config = self._config
        if celsius >= config.minimal_celsius - self._slack(PowerLevel.MINIMAL):
            return PowerLevel.MINIMAL
        if celsius >= config.eco_celsius - self._slack(PowerLevel.ECO, PowerLevel.MINIMAL):
            return PowerLevel.ECO
        return PowerLevel.FULL

    def _slack(self, *reached_at: PowerLevel) -> float:
        return self._config.cooler_celsius if self.level in reached_at else 0.0
