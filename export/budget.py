"""What a variant may lose."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MAX_DROP_POINTS = 1.0
DEFAULT_MAX_CLASS_DROP_POINTS = 10.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a variant may lose against the float model, in points of accuracy and of the recall of any class."""

    max_drop_points: float = DEFAULT_MAX_DROP_POINTS
    max_class_drop_points: float = DEFAULT_MAX_CLASS_DROP_POINTS
