"""What a camera URI means, before anything is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from device.cameras.base import FrameSource

MOST_REGIONS = 16


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the picture that is classified on its own. Fractions of width and height, 0 to 1."""

    name: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """A camera that can be opened, again and again.

    Attributes:
        name: for people, logs and results: the option ``?name=``, else the URI without credentials and secrets.
        live: see ``FrameSource``; such a camera is opened again when it fails.
        open: opens it; raises CameraError for what may pass (absent, busy, unreachable).
        regions: parts that are classified one by one; empty is the whole picture.
        fps: frames a second that were asked for; None where nothing was.
    """

    name: str
    live: bool
    open: Callable[[], FrameSource]
    regions: tuple[Region, ...] = ()
    fps: float | None = None
