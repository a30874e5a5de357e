"""What workstation and board agree on: frozen types, versioned and strictly parsed.

A manifest comes from outside and is hostile until ``parse_manifest`` has returned it: unknown fields,
missing fields, wrong types and values out of range are all errors that name their place.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from device.errors import ContractError

SCHEMA_VERSION = 3
MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Side = Annotated[int, Meta(ge=8, le=4096)]
Byte = Annotated[int, Meta(ge=0, le=255)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
# One flat folder of plain names: no separators, no dot files, no look-alike letters, hence no traversal.
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
# The name becomes a file and folder name on the board.
BundleName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
SemanticVersion = Annotated[str, Meta(pattern=r"^\d{1,9}\.\d{1,9}\.\d{1,9}$")]
ClassName = Annotated[str, Meta(min_length=1, max_length=255)]


class Fit(Enum):
    """How a picture of any shape becomes one of the model's shape."""

    CENTRE_CROP = "centre-crop"
    LETTERBOX = "letterbox"
    STRETCH = "stretch"


class Interpolation(Enum):
    """How pixels are resampled.

    AREA averages when it shrinks and is bilinear when it enlarges: a 12-megapixel photo and a small video
    frame of the same thing look alike to the model. LINEAR samples four pixels whatever the scale: it is
    cheaper and aliases when it shrinks by more than two.
    """

    AREA = "area"
    LINEAR = "linear"


class ColourOrder(Enum):
    """The order of the last axis of a picture."""

    BGR = "bgr"
    RGB = "rgb"


class EngineKind(Enum):
    """The runtime that executes a variant."""

    LITERT = "litert"
    ONNX = "onnx"


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything that travels in a manifest."""


class PreprocessSpec(Contract, frozen=True):
    """Everything that decides how a picture becomes the model's ``(height, width, 3) uint8``.

    ``fill`` is the letterbox colour in ``colour_order``.
    """

    height: Side
    width: Side
    fit: Fit = Fit.CENTRE_CROP
    interpolation: Interpolation = Interpolation.AREA
    colour_order: ColourOrder = ColourOrder.RGB
    fill: tuple[Byte, Byte, Byte] = (0, 0, 0)


class TensorSpec(Contract, frozen=True):
    """A model's input or output as its runtime reports it; ``dtype`` is a numpy name such as ``uint8``."""

    name: str
    shape: tuple[Annotated[int, Meta(ge=1)], ...]
    dtype: str


class FileEntry(Contract, frozen=True):
    """A file of the bundle and what it must be to be used."""

    name: FileName
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=1)]


class Measured(Contract, frozen=True):
    """What the export measured on validation photos, through the board's engine, against the float model.

    ``accuracy_low`` and ``accuracy_high`` bound the 95 % confidence interval; ``drop_points`` is the loss of
    accuracy in percentage points (negative: it gained); ``agreement`` is the share of equal top-1 answers.
    """

    photos: Annotated[int, Meta(ge=1)]
    accuracy: Fraction
    accuracy_low: Fraction
    accuracy_high: Fraction
    drop_points: float
    worst_class_drop_points: float
    agreement: Fraction
    worst_difference: Fraction
    mean_difference: Fraction
    expected_calibration_error: Fraction
    calibration_drift: float


class Decision(Contract, frozen=True):
    """How probabilities become an answer.

    ``temperature`` divides the logits (Guo et al. 2017, "On Calibration of Modern Neural Networks"): above 1
    it makes the model less sure of itself. An answer under ``unknown_threshold`` is reported as unknown.
    """

    temperature: Annotated[float, Meta(ge=0.05, le=20.0)] = 1.0
    unknown_threshold: Fraction = 0.0


class Variant(Contract, frozen=True):
    """One executable form of the model. ``name`` is unique in its manifest, e.g. ``tflite-static-int8``.

    ``decision`` was fitted to this variant's own answers: quantisation changes how sure a model is.
    """

    name: FileName
    engine: EngineKind
    recipe: str
    file: FileEntry
    input: TensorSpec
    output: TensorSpec
    decision: Decision
    measured: Measured


class Choice(Contract, frozen=True):
    """How a board chooses among the variants that are right there.

    With ``frames_per_second`` it is the most accurate of those that reach so many; without, or where none does, it is
    the fastest.
    """

    frames_per_second: Annotated[float, Meta(gt=0.0, le=10_000.0)] | None = None


class SplitRule(Contract, frozen=True):
    """Which photo belongs to which split, as a function of its content only; see ``pipeline.split``.

    With ``ready_made`` the folders ``train/``, ``val/`` and ``test/`` decide; ``resalted`` holds, for the few
    classes where the first draw left a split empty, the number of the draw that was taken.
    """

    ready_made: bool
    seed: int
    validation: Fraction
    test: Fraction
    resalted: dict[str, int] = {}


class Spread(Contract, frozen=True):
    """How a figure is spread over photos: its mean, and the values under which 1, 5, 50, 95 and 99 % lie."""

    mean: Fraction
    quantiles: tuple[Fraction, Fraction, Fraction, Fraction, Fraction]


class TrainingStatistics(Contract, frozen=True):
    """What training saw, for a board to compare with; made by ``device.picture_statistics``.

    Attributes:
        photos: that were looked at.
        brightness, contrast, sharpness, saturation, dark, bright: of training photos as the model gets them.
        mean_probability: of the answers on validation photos, calibrated.
        unknown_share: of validation photos that became "unknown".
    """

    photos: Annotated[int, Meta(ge=1)]
    brightness: Spread
    contrast: Spread
    sharpness: Spread
    saturation: Spread
    dark: Spread
    bright: Spread
    mean_probability: Fraction
    unknown_share: Fraction


class Training(Contract, frozen=True):
    """Where the model comes from. Accuracy is the float model's on the test split."""

    backbone: str
    seed: int
    photos_train: int
    photos_validation: int
    photos_test: int
    test_accuracy: Fraction
    split: SplitRule
    edgegraft_version: str
    statistics: TrainingStatistics | None = None


class Golden(Contract, frozen=True):
    """Inputs with the answers that were right on the workstation; ``tolerance`` is in probability.

    Reference and optimised int8 kernels differ in the last place and layers pile that up, hence a tolerance.
    """

    file: FileEntry
    tolerance: Fraction = 0.1


class Manifest(Contract, frozen=True):
    """The table of contents of a Bundle.

    ``variants`` come in the order in which a board tries them before it has measured any, ``choice`` is the rule once
    it has; ``created`` is ISO 8601; ``training`` is None for a model that was trained elsewhere.
    """

    schema: int
    name: BundleName
    version: SemanticVersion
    created: str
    classes: tuple[ClassName, ...]
    preprocess: PreprocessSpec
    variants: tuple[Variant, ...]
    golden: Golden
    report: FileEntry
    training: Training | None
    choice: Choice = Choice()

    def files(self) -> tuple[FileEntry, ...]:
        """Every file the bundle must hold beside the manifest, and the only ones it may."""
        return (*(variant.file for variant in self.variants), self.golden.file, self.report)

    def variant(self, name: str) -> Variant:
        """The variant of that name.

        Raises:
            ContractError: there is none; the message lists those that exist.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        raise ContractError(f"no variant '{name}' in bundle '{self.name}'; it has: {known}")


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as indented JSON, fit to be read by a person."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest from JSON, strictly.

    Raises:
        ContractError: not JSON, another schema version, a field too many, too few or of the wrong type, or
            parts that contradict one another.
    """
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise ContractError(f"manifest.json has {len(data)} bytes; at most {MANIFEST_LIMIT_BYTES} are allowed")
    require_schema(data, SCHEMA_VERSION, "manifest.json", "export the bundle again")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise ContractError(f"manifest.json: {err}; export the bundle again") from err
    _check_consistent(manifest)
    return manifest


class _SchemaOnly(msgspec.Struct):
    schema: int


def require_schema(data: bytes, expected: int, name: str, remedy: str) -> None:
    """Look at the schema number of a JSON object, before it is read strictly: a newer one is newer, not malformed.

    Args:
        data: the JSON.
        expected: the number that this version reads.
        name: of the file, for messages.
        remedy: what to do about one that is damaged or too old.

    Raises:
        ContractError: not JSON, no such number, or another.
    """
    try:
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise ContractError(f"{name}: {err}; {remedy}") from err
    if schema != expected:
        advice = "update edgegraft on this machine" if schema > expected else remedy
        raise ContractError(f"{name} has schema {schema}, this edgegraft reads {expected}; {advice}")


def _check_consistent(manifest: Manifest) -> None:
    _require_unique("class", manifest.classes)
    _require_unique("variant", [variant.name for variant in manifest.variants])
    _require_unique("file", [entry.name.casefold() for entry in manifest.files()])
    if len(manifest.classes) < 2:
        raise ContractError(f"manifest.json lists {len(manifest.classes)} class(es); a classifier needs two")
    if not manifest.variants:
        raise ContractError("manifest.json lists no variant; export the bundle again")
    for variant in manifest.variants:
        _check_variant(manifest, variant)


def _check_variant(manifest: Manifest, variant: Variant) -> None:
    spec = manifest.preprocess
    expected_input = ((1, spec.height, spec.width, 3), "uint8")
    if (variant.input.shape, variant.input.dtype) != expected_input:
        raise ContractError(
            f"variant '{variant.name}' takes {variant.input.shape} {variant.input.dtype}; "
            f"the preprocessing gives {expected_input[0]} uint8: export the bundle again"
        )
    if variant.output.shape != (1, len(manifest.classes)):
        raise ContractError(
            f"variant '{variant.name}' puts out {variant.output.shape}, but the manifest lists "
            f"{len(manifest.classes)} classes: the labels belong to another model"
        )


def _require_unique(what: str, names: list[str] | tuple[str, ...]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ContractError(f"manifest.json lists a {what} twice: {', '.join(twice)}")
