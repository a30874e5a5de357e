"""An Engine without a model, for tests and for trying a loop: answers are given by a function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from device.closing import Closing
from device.contract import TensorSpec
from device.engines.base import Accelerator, as_probabilities


class FakeEngine(Closing):
    """Implements ``Engine``.

    Args:
        classes: how many.
        size: height and width of the input.
        answer: from (height, width, 3) uint8 RGB to (classes,) float32 probabilities.
    """

    def __init__(
        self, classes: int, size: tuple[int, int], answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    ) -> None:
        self.input = TensorSpec(name="pixels", shape=(1, *size, 3), dtype="uint8")
        self.output = TensorSpec(name="probabilities", shape=(1, classes), dtype="float32")
        self.threads = 1
        self.accelerator = Accelerator.CPU
        self._answer = answer

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine.run``."""
        return as_probabilities(self._answer(pixels))

    def close(self) -> None:
        """See ``Engine.close``."""
