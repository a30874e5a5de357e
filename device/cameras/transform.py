"""Turns, mirrors and crops what a source shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from device.cameras.base import Frame, FrameSource, Source
from device.cameras.spec import Region
from device.decisions.regions import crop
from device.preprocess import Pixels

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True)
class Transform:
    """What is done to each picture, in this order.

    Attributes:
        roi: the part that is kept; None is all of it.
        rotate: degrees clockwise: 0, 90, 180 or 270.
        flip: ``h`` mirrors left and right, ``v`` up and down, ``hv`` both; empty is neither.
    """

    roi: Region | None = None
    rotate: int = 0
    flip: str = ""

    def apply(self, pixels: Pixels) -> Pixels:
        """The picture as it should be: (height, width, 3) uint8; sides change places at 90 and 270 degrees."""
        if self.roi is not None:
            pixels = crop(pixels, self.roi)
        if self.rotate:
            pixels = cv2.rotate(pixels, _TURNS[self.rotate])  # type: ignore[assignment]
        if "h" in self.flip:
            pixels = pixels[:, ::-1]
        if "v" in self.flip:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels) if self.flip else pixels


class TransformedSource(Source):
    """Another source's frames, transformed. Implements ``FrameSource``.

    Args:
        source: open; closed with this.
        transform: see there.
    """

    def __init__(self, source: FrameSource, transform: Transform) -> None:
        self._source = source
        self._transform = transform

    @property
    def live(self) -> bool:
        """As of the source."""
        return self._source.live

    @property
    def skipped(self) -> dict[str, str]:
        """As of the source: photos that could not be read."""
        return dict(getattr(self._source, "skipped", {}))

    def read(self) -> Frame | None:
        """See ``FrameSource.read``."""
        frame = self._source.read()
        return None if frame is None else replace(frame, pixels=self._transform.apply(frame.pixels))

    def interrupt(self) -> None:
        """See ``FrameSource.interrupt``."""
        self._source.interrupt()

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._source.close()
