"""What the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.calibrate import UnknownReport
from pipeline.metrics import Scores
from pipeline.robustness import RobustnessTable
from pipeline.run import RunRecord


@dataclass(frozen=True, slots=True)
class Absent:
    """A part that was not measured; the page says why, in a half sentence without a full stop."""

    reason: str


@dataclass(frozen=True, slots=True)
class EpochPoint:
    """One epoch of one stage; None is what was not measured. Losses are mean negative log-likelihoods."""

    stage: str
    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A photo worth seeing.

    Attributes:
        pixels: (height, width, 3) uint8 RGB, as the model saw it.
        heat: (height, width) float32, 0 to 1, what spoke for the answer; None where it was not computed.
        truth, answer: class names.
        probability: of the answer, calibrated.
        file: relative to the data folder.
    """

    pixels: NDArray[np.uint8]
    heat: NDArray[np.float32] | None
    truth: str
    answer: str
    probability: float
    file: str


@dataclass(frozen=True, slots=True)
class Examples:
    """Test photos: the wrong answers given with most confidence, and of the others the least certain answers."""

    mistakes: tuple[Example, ...]
    uncertain: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """Everything on the page.

    Attributes:
        record: of the run; names in it come from folders and are escaped.
        test: on test photos, probabilities after temperature scaling.
        test_uncalibrated: the same without.
        unknown: what the unknown threshold does, on test photos and held-out photos of no class.
        looks: how often the test split has been looked at, this time included.
        history: every epoch in order.
        examples, robustness: or why not.
        environment: by name, see ``describe_environment``.
    """

    record: RunRecord
    test: Scores
    test_uncalibrated: Scores
    unknown: UnknownReport
    looks: int
    history: tuple[EpochPoint, ...] = ()
    examples: Examples | Absent = Absent("they were not kept")
    robustness: RobustnessTable | Absent = Absent("it was not measured")
    environment: Mapping[str, str] = field(default_factory=dict)
