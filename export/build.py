"""Run to Bundle: convert, prove, choose, write."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.bundle import file_entry, pack_arrays, write_bundle
from device.contract import SCHEMA_VERSION, EngineKind, Golden, Manifest, Training, Variant
from device.errors import EngineError
from device.quiet import native_stderr_to
from export.errors import ConversionError, ParityError
from export.parity import Outcome, Proof, choose_golden, judge, prove_variant
from export.recipe import DEFAULT_MAX_DROP_POINTS, Recipe, Target, targets
from export.report import render_report
from pipeline.display import Display, Silent, counted
from pipeline.metrics import Scores, score
from pipeline.run import EXPORT_REPORT, LOG, ExportPhotos, Run, open_run, write_atomically

if TYPE_CHECKING:
    from pipeline.trained import TrainedClassifier

# Gives the calibration photos anew at each call, (height, width, 3) uint8 RGB each.
Photos = Callable[[], Iterator[NDArray[np.uint8]]]

REPORT = "report.html"

_GOLDEN_COUNT = 8
_GOLDEN_FILE = "golden.npz"


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What to export.

    Attributes:
        run: a finished Run folder.
        out: the bundle to write.
        recipes: each is made for both engines.
        max_drop_points: loss of accuracy, in percentage points, above which a variant stays out.
        version: of the bundle.
    """

    run: Path
    out: Path
    recipes: tuple[Recipe, ...] = tuple(Recipe)
    max_drop_points: float = DEFAULT_MAX_DROP_POINTS
    version: str = "1.0.0"


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The bundle, the float model's score on validation, and what became of every target."""

    bundle: Path
    report: Path
    float_score: Scores
    outcomes: tuple[Outcome, ...]
    seconds: float


def export_run(config: ExportConfig, display: Display | None = None) -> ExportResult:
    """Convert a run to every variant, prove each on validation photos, and bundle those that pass.

    The report is written into the Run as well, also when no variant passes.

    Raises:
        RunError: the run is missing or incomplete.
        ParityError: no variant passed; which figure failed is in the message and in the report.
    """
    start = time.monotonic()
    run = open_run(config.run)
    photos = run.photos()
    with native_stderr_to(run.folder / LOG):
        reference, outcomes = _make_and_prove(run, photos, config, display or Silent())
    float_score = score(reference, photos.labels, run.record.classes)
    report = render_report(run.record, float_score, outcomes, config.max_drop_points)
    write_atomically(run.folder / EXPORT_REPORT, report)
    if not any(outcome.included for outcome in outcomes):
        reasons = "; ".join(f"{outcome.target.name}: {outcome.reason}" for outcome in outcomes)
        raise ParityError(
            f"no variant passed, no bundle was written ({reasons}). Allow more with --max-drop, or train on more "
            f"photos; see {run.folder / EXPORT_REPORT}"
        )
    _write(config, run, photos, reference, outcomes, report)
    return ExportResult(config.out, run.folder / EXPORT_REPORT, float_score, outcomes, time.monotonic() - start)


def _make_and_prove(
    run: Run, photos: ExportPhotos, config: ExportConfig, display: Display
) -> tuple[NDArray[np.float32], tuple[Outcome, ...]]:
    # TensorFlow is imported from here on, with its chatter going to the run's log.
    from export.convert import with_full_range
    from pipeline.trained import load_trained

    trained = load_trained(run)
    reference = trained.predict(photos.validation)
    calibration = with_full_range(photos.calibration)
    outcomes = []
    for target in targets(config.recipes):
        photos_seen = len(photos.labels) + (len(calibration) if target.recipe.needs_calibration else 0)
        display.begin(target.name, photos_seen, "photo")
        try:
            model = _convert(target, trained, lambda: counted(calibration, display, "calibrating"))
            pictures = counted(photos.validation, display, "proving")
            proof = prove_variant(target, model, pictures, photos.labels, reference, run.record.classes)
            outcomes.append(judge(target, model, proof, config.max_drop_points))
        except (ConversionError, EngineError) as err:
            outcomes.append(Outcome(target, b"", None, included=False, reason=str(err)))
        display.end(_sentence(outcomes[-1]))
    return reference, tuple(outcomes)


def _convert(target: Target, trained: TrainedClassifier, calibration: Photos) -> bytes:
    from export.onnx import convert_onnx
    from export.tflite import convert_tflite

    convert = convert_tflite if target.engine is EngineKind.LITERT else convert_onnx
    return convert(trained, target.recipe, calibration)


def _sentence(outcome: Outcome) -> str:
    if outcome.measured is None or not outcome.included:
        return f"{outcome.target.name:<18}  stays out: {outcome.reason}"
    measured = outcome.measured
    return f"{outcome.target.name:<18}  agrees on {measured.agreement:.1%}, drop {measured.drop_points:+.2f} points"


def _write(
    config: ExportConfig,
    run: Run,
    photos: ExportPhotos,
    reference: NDArray[np.float32],
    outcomes: tuple[Outcome, ...],
    report: bytes,
) -> None:
    golden_indices = choose_golden(photos.labels, reference, _GOLDEN_COUNT)
    files, variants = {REPORT: report}, []
    arrays: dict[str, NDArray[np.generic]] = {"inputs": photos.validation[golden_indices]}
    for outcome in outcomes:
        if not outcome.included or outcome.proof is None:
            continue
        variant = _variant(outcome.target, outcome.model, outcome.proof)
        variants.append(variant)
        files[variant.file.name] = outcome.model
        arrays[variant.name] = outcome.proof.probabilities[golden_indices]
    files[_GOLDEN_FILE] = pack_arrays(arrays)
    manifest = _manifest(config, run, tuple(variants), files)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_bundle(config.out, manifest, files)


def _variant(target: Target, model: bytes, proof: Proof) -> Variant:
    return Variant(
        name=target.name,
        engine=target.engine,
        recipe=target.recipe.value,
        file=file_entry(f"{target.name}.{target.suffix}", model),
        input=proof.input,
        output=proof.output,
        measured=proof.measured,
    )


def _manifest(config: ExportConfig, run: Run, variants: tuple[Variant, ...], files: dict[str, bytes]) -> Manifest:
    record = run.record
    manifest = Manifest(
        schema=SCHEMA_VERSION,
        name=_bundle_name(config.out),
        version=config.version,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        classes=record.classes,
        preprocess=record.preprocess,
        decision=record.decision,
        variants=variants,
        golden=Golden(file=file_entry(_GOLDEN_FILE, files[_GOLDEN_FILE])),
        report=file_entry(REPORT, files[REPORT]),
        training=Training(
            backbone=record.backbone,
            seed=record.seed,
            photos_train=record.photos.train,
            photos_validation=record.photos.validation,
            photos_test=record.photos.test,
            test_accuracy=record.test.accuracy,
            split=record.split,
            edgegraft_version=version("edgegraft"),
        ),
    )
    # What is written must be readable: types are checked where they are read.
    return msgspec.convert(msgspec.to_builtins(manifest), Manifest)


def _bundle_name(path: Path) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:64]
    return name or "bundle"
