"""What every conversion starts from: the float classifier, corrected for the rounding that is to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from export.bias_correction import BiasCorrector, Rounding
from export.convert import with_full_range
from pipeline.trained import TrainedClassifier

# Called with every photo that a calibration looks at.
OnPhoto = Callable[[NDArray[np.uint8]], None]


# No slots: what was corrected is kept.
@dataclass(frozen=True)
class Source:
    """A float classifier and the photos that its conversion may look at.

    Attributes:
        trained: the float model.
        calibration: (n, height, width, 3) uint8 RGB, from train only; the first holds both 0 and 255.
        on_photo: is told of every photo that is looked at, for a display.
    """

    trained: TrainedClassifier
    calibration: NDArray[np.uint8]
    on_photo: OnPhoto = lambda photo: None

    def photos(self) -> Iterator[NDArray[np.uint8]]:
        """The calibration photos once, (height, width, 3) uint8 RGB each."""
        for pixels in self.calibration:
            yield pixels
            self.on_photo(pixels)

    def corrected(self, rounding: Rounding | None) -> TrainedClassifier:
        """The classifier whose biases make up for this rounding of its weights; None: as it is."""
        return self.trained if rounding is None else self._corrector.corrected(rounding)

    @cached_property
    def _corrector(self) -> BiasCorrector:
        return BiasCorrector(self.trained, self.calibration)


def make_source(
    trained: TrainedClassifier, calibration: NDArray[np.uint8], on_photo: OnPhoto = lambda photo: None
) -> Source:
    """A source whose calibration photos span 0 to 255.

    Args:
        trained: the float model.
        calibration: (n, height, width, 3) uint8 RGB, from train only.
        on_photo: see ``Source``.
    """
    return Source(trained, with_full_range(calibration), on_photo)
