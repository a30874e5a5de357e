"""Leaves out frames in which nothing has moved since the last one that was classified."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.preprocess import Pixels

# Cells of the thumbnail, and pixels sampled for each: their mean has a quarter of the sensor's noise.
_COLUMNS, _ROWS, _SAMPLES = 64, 36, 4


class MotionGate:
    """Compares each frame with the last one that passed, cell by cell of a grey thumbnail of 64 x 36.

    A moving thing changes some cells by much, sensor noise changes each by little. The reference is the last frame that
    passed: slow light adds up to one more frame now and then, and a thing that creeps is seen once it has crept far
    enough. A lamp that is switched on counts as motion.

    Args:
        threshold: grey levels, 0 to 255, by which a cell must change.
        least_share: of the picture that must change, 0 to 1.
        linger_s: seconds for which frames go on to pass after the last motion, so that the answer can settle.
        keep_alive_s: a frame passes at least so often, whatever moves; shorter than ``Rules.hold_s``.
    """

    def __init__(
        self, threshold: float = 12.0, least_share: float = 0.005, linger_s: float = 1.5, keep_alive_s: float = 2.0
    ) -> None:
        self._threshold = threshold
        self._least_cells = max(1, round(least_share * _COLUMNS * _ROWS))
        self._linger_s = linger_s
        self._keep_alive_s = keep_alive_s
        self._reference: NDArray[np.uint8] | None = None
        self._passed_s = self._moved_s = 0.0

    def still(self, pixels: Pixels, at_s: float) -> bool:
        """Whether this frame need not be classified; one that must be becomes the reference.

        Args:
            pixels: (height, width, 3) uint8, any size; it may change from frame to frame.
            at_s: when it was captured, seconds on ``time.monotonic``.
        """
        seen = _thumbnail(pixels)
        if self._reference is None or self._differs(seen, self._reference):
            self._moved_s = at_s
        elif at_s - self._moved_s >= self._linger_s and at_s - self._passed_s < self._keep_alive_s:
            return True
        self._reference, self._passed_s = seen, at_s
        return False

    def _differs(self, seen: NDArray[np.uint8], reference: NDArray[np.uint8]) -> bool:
        changed = cv2.absdiff(seen, reference) >= self._threshold
        return int(np.count_nonzero(changed)) >= self._least_cells


def _thumbnail(pixels: Pixels) -> NDArray[np.uint8]:
    # Nearest reads only the pixels that it keeps: a larger frame costs no more.
    sampled = cv2.resize(pixels, (_COLUMNS * _SAMPLES, _ROWS * _SAMPLES), interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(sampled, cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
