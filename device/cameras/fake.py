"""A camera that shows the frames it is given, for tests and for trying a loop."""

from __future__ import annotations

import time
from collections.abc import Iterable

from device.cameras.base import Frame, Source
from device.contract import ColourOrder
from device.preprocess import Pixels


class FakeCamera(Source):
    """Implements ``FrameSource``.

    Args:
        pictures: (height, width, 3) uint8 BGR each.
        live: as the real camera it stands for.
    """

    def __init__(self, pictures: Iterable[Pixels], live: bool = False) -> None:
        self.live = live
        self.closed = False
        self._pictures = enumerate(pictures)

    def read(self) -> Frame | None:
        """See ``FrameSource.read``."""
        index, pixels = next(self._pictures, (0, None))
        if pixels is None:
            return None
        return Frame(pixels, ColourOrder.BGR, index, time.time(), time.monotonic(), decode_ms=0.0)

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self.closed = True
