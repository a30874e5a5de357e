"""What to adopt, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device.contract import Decision, EngineKind, Fit, Measured, PreprocessSpec
from export.adopt.interface import Interface, OutputKind, Surgery
from pipeline.backbones.base import Normalisation
from pipeline.metrics import Scores

# What its numbers are is its makers' business.
RECIPE = "adopted"


@dataclass(frozen=True, slots=True)
class AdoptConfig:
    """What to adopt.

    Attributes:
        model: a ``.tflite`` or ``.onnx`` file.
        labels: one class a line, in the order of the outputs; None takes those inside the file.
        data: labelled photos.
        out: the bundle to write.
        preprocess: how the model wants its pixels; None: as the file says, else what answers best on the photos.
        fit: how a photo becomes the input's shape.
        size: side of the input, only for a model that leaves it free; 0 otherwise.
        version: of the bundle.
    """

    model: Path
    labels: Path | None
    data: Path
    out: Path
    preprocess: Normalisation | None = None
    fit: Fit = Fit.CENTRE_CROP
    size: int = 0
    version: str = "1.0.0"


@dataclass(frozen=True, slots=True)
class Source:
    """The foreign file: its name, engine, sha256 and size."""

    name: str
    engine: EngineKind
    sha256: str
    size_bytes: int

    @property
    def suffix(self) -> str:
        """Of the file: ``tflite`` or ``onnx``."""
        return "tflite" if self.engine is EngineKind.LITERT else "onnx"


@dataclass(frozen=True, slots=True)
class Declared:
    """What the file says about itself: empty or None where it does not; ``problem`` says why it could not be read."""

    labels: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A way to feed the original, tried on some photos."""

    preprocess: str
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """What came of it.

    Attributes:
        bundle: the file written.
        version: of the bundle.
        created: ISO 8601.
        source: the foreign file.
        interface: what it takes and gives.
        kind: of its output.
        preprocess: the normalisation, in words.
        preprocess_from: who says so.
        normalisation: the same as numbers.
        surgery: what was added.
        classes: in the order of the outputs.
        spec: the board's part of the preprocessing.
        decision: temperature and unknown threshold.
        fitted_on: photos that the decision was fitted on; 0: too few, it is the default.
        measured: the adopted file against the original, through the board's engine; calibration on photos that
            nothing was fitted on.
        scores: of the adopted file on all photos.
        trials: ways to feed the original, best first; the one taken is among them.
        notes: on labels and photos, each a sentence.
        left_out: files that could not be used, with the reason.
        warnings: what the user must look at.
        seconds: all of it.
    """

    bundle: Path
    version: str
    created: str
    source: Source
    interface: Interface
    kind: OutputKind
    preprocess: str
    preprocess_from: str
    normalisation: Normalisation
    surgery: Surgery
    classes: tuple[str, ...]
    spec: PreprocessSpec
    decision: Decision
    fitted_on: int
    measured: Measured
    scores: Scores
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]
    left_out: dict[str, str]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def variant(self) -> str:
        """Name of the bundle's one variant."""
        return f"{self.source.suffix}-{RECIPE}"
