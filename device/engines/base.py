"""The Engine protocol and the checks that every answer passes."""

from __future__ import annotations

from enum import Enum
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device.contract import TensorSpec
from device.errors import EngineError

# Sums of de-quantised uint8 probabilities stray by half a step per class; more means it is no softmax.
_SUM_TOLERANCE = 0.1


class Accelerator(Enum):
    """Where a model runs."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    EDGETPU = "edgetpu"


class Engine(Protocol):
    """A loaded model. Not for use from two threads at once."""

    @property
    def input(self) -> TensorSpec:
        """What the model takes: ``(1, height, width, 3) uint8``."""

    @property
    def output(self) -> TensorSpec:
        """What the model itself puts out, before de-quantisation."""

    @property
    def threads(self) -> int:
        """Of the runtime on the CPU."""

    @property
    def accelerator(self) -> Accelerator:
        """Where the model really runs, as the runtime reports it."""

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify one picture.

        Args:
            pixels: (height, width, 3) uint8 RGB, from ``device.preprocess``.

        Returns:
            (classes,) float32 probabilities that sum to one.

        Raises:
            EngineError: the runtime failed or the answer is not finite.
        """

    def close(self) -> None:
        """Free the model."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def as_probabilities(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Check a model's answer and make it sum to one exactly.

    Args:
        raw: (classes,) float32, de-quantised.

    Raises:
        EngineError: NaN, infinite, or further from a distribution than quantisation explains.
    """
    total = float(raw.sum())
    if not np.isfinite(total):
        raise EngineError(
            "the model answered with NaN or infinity; export it again, or check the memory of this machine"
        )
    slack = _SUM_TOLERANCE + len(raw) / 512
    if abs(total - 1.0) > slack or float(raw.min()) < -0.01:
        raise EngineError(f"the model's answer sums to {total:.3f}, expected probabilities; it must end in a softmax")
    positive = np.maximum(raw, 0.0)
    probabilities: NDArray[np.float32] = (positive / positive.sum()).astype(np.float32)
    return probabilities
