"""Measures a Run or a Bundle on labelled photos; a Bundle through the runtime that the board uses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.bundle import Bundle, open_bundle
from device.contract import Decision, PreprocessSpec, SplitRule
from device.engines import Engine, available, not_installed, open_engine
from device.prediction import calibrate
from device.quiet import native_stderr_dropped
from pipeline.cache import PixelCache, cache_root
from pipeline.calibrate import UnknownReport, measure_unknown
from pipeline.dataset import UNKNOWN_FOLDER, Dataset, Photo, Split, list_folder
from pipeline.display import Display, Silent, counted
from pipeline.errors import DatasetError, PipelineError
from pipeline.ingest import ingest
from pipeline.looks import is_look, record_look
from pipeline.metrics import Scores, score
from pipeline.robustness import BATCHES, MOST_PHOTOS, Predict, RobustnessTable, robustness_table
from pipeline.run import Run, open_run
from pipeline.split import assign, assign_unknown


class Robustness(Enum):
    """Whether damaged photos are measured too: that takes 26 times as long for up to 150 photos."""

    SKIPPED = "skipped"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class VariantScores:
    """Scores of one variant; ``float`` is the trained model itself. Probabilities are calibrated as on the board.

    Attributes:
        variant: its name.
        scores: on the photos of the classes.
        unknown: what the unknown threshold does on them and on the photos of no class.
        robustness: None where it was not asked for.
    """

    variant: str
    scores: Scores
    unknown: UnknownReport
    robustness: RobustnessTable | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured on what.

    Attributes:
        source: the Run folder or the Bundle file.
        split: its name, or ``all``.
        n: photos of the classes.
        results: by variant.
        skipped: variants that were not measured, with the reason.
        test_looks: how often the Run's test split has been looked at, this time included; None where this was no
            look at it. A Bundle travels and keeps no count.
    """

    source: str
    split: str
    n: int
    results: tuple[VariantScores, ...]
    skipped: dict[str, str]
    test_looks: int | None = None


@dataclass(frozen=True, slots=True)
class _Photos:
    """What is measured on.

    Attributes:
        pixels: (n, height, width, 3) uint8 RGB.
        labels: (n,) int64 in the model's order of classes.
        unknown: (m, height, width, 3) uint8 RGB, photos of no class.
        sha256: of the n files.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    unknown: NDArray[np.uint8]
    sha256: tuple[str, ...]


def evaluate(
    source: Path,
    data: Path,
    split: Split | None,
    display: Display | None = None,
    robustness: Robustness = Robustness.SKIPPED,
) -> Evaluation:
    """Measure a Run's float model or every variant of a Bundle.

    Where test photos of a Run are among those measured, the look is written down in the Run (``pipeline.looks``).

    Args:
        source: a Run folder or a Bundle file.
        data: a folder of photos whose class folders are named as the model's classes; ``_unknown`` in it is of none.
        split: the same photos that training assigned to it; None for all photos of the folder.
        display: is told how it goes.
        robustness: whether to measure on damaged photos too.

    Raises:
        PipelineError: the source is neither, the photos do not fit it, or a look cannot be written down.
        DeviceError: the bundle is not intact or a variant does not run.
    """
    display = display or Silent()
    if source.is_dir():
        return _evaluate_run(open_run(source), data, split, display, robustness)
    if source.suffix in (".tflite", ".onnx"):
        raise PipelineError(
            f"{source}: a bare model does not say which classes and preprocessing it has; give the bundle or the run"
        )
    with open_bundle(source) as bundle:
        return _evaluate_bundle(bundle, data, split, display, robustness)


def _evaluate_run(run: Run, data: Path, split: Split | None, display: Display, robustness: Robustness) -> Evaluation:
    record = run.record
    photos = _load(data, record.preprocess, record.classes, record.split, split)
    looked = is_look(run.folder, photos.sha256)
    with native_stderr_dropped():
        from pipeline.trained import load_trained

        predict = _all_at_once(load_trained(run).predict, display)
        result = _measure("float", predict, photos, record.classes, record.decision, robustness, display)
    looks = record_look(run.folder, "evaluate", result.scores.accuracy) if looked else None
    return Evaluation(str(run.folder), _name(split), result.scores.n, (result,), {}, looks)


def _evaluate_bundle(
    bundle: Bundle, data: Path, split: Split | None, display: Display, robustness: Robustness
) -> Evaluation:
    manifest = bundle.manifest
    rule = manifest.training.split if manifest.training else None
    if rule is None and split is not None:
        raise PipelineError(
            f"{bundle.path}: the model was trained elsewhere, and nothing says which photos are its {split.value} "
            f"split; measure on all of a folder that it has not seen with --split all"
        )
    photos = _load(data, manifest.preprocess, manifest.classes, rule, split)
    results, skipped = [], {}
    for variant in manifest.variants:
        if not available(variant.engine):
            skipped[variant.name] = not_installed(variant.engine)
            continue
        with open_engine(variant, bundle.model(variant)) as engine:
            predict = _one_by_one(engine, display)
            results.append(
                _measure(variant.name, predict, photos, manifest.classes, variant.decision, robustness, display)
            )
    return Evaluation(str(bundle.path), _name(split), len(photos.labels), tuple(results), skipped)


def _all_at_once(predict: Predict, display: Display) -> Predict:
    def counting(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities = predict(pixels)
        display.advance(len(pixels))
        return probabilities

    return counting


def _one_by_one(engine: Engine, display: Display) -> Predict:
    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack([engine.run(picture) for picture in counted(pixels, display)])

    return predict


def _measure(
    variant: str,
    predict: Predict,
    photos: _Photos,
    classes: tuple[str, ...],
    decision: Decision,
    robustness: Robustness,
    display: Display,
) -> VariantScores:
    damaged = BATCHES * min(MOST_PHOTOS, len(photos.labels)) if robustness is Robustness.MEASURED else 0
    display.begin(variant, len(photos.labels) + len(photos.unknown) + damaged, "photo")
    probabilities = predict(photos.pixels)
    unknown = predict(photos.unknown) if len(photos.unknown) else None
    table = robustness_table(predict, photos.pixels, photos.labels) if damaged else None
    display.end()
    scores = score(calibrate(probabilities, decision.temperature), photos.labels, classes)
    return VariantScores(variant, scores, measure_unknown(probabilities, photos.labels, decision, unknown), table)


def _load(
    data: Path, spec: PreprocessSpec, classes: tuple[str, ...], rule: SplitRule | None, split: Split | None
) -> _Photos:
    listing = list_folder(data)
    foreign = sorted(set(listing.classes) - set(classes))
    if foreign:
        raise DatasetError(
            f"{data}: the model does not know {', '.join(foreign)}; its classes are {', '.join(classes)}. "
            f"Photos of none of them belong in {UNKNOWN_FOLDER}"
        )
    cache = PixelCache(cache_root(), spec)
    dataset = ingest(listing, cache, spec)
    photos, unknown = dataset.photos, dataset.unknown
    if split is not None and rule is not None:
        photos, unknown = assign(dataset, rule)[split], _unknown_of(dataset, rule, split)
    if not photos:
        raise DatasetError(f"{data}: no photos in the {_name(split)} split; measure on all with --split all")
    labels = np.array([classes.index(dataset.classes[photo.label]) for photo in photos], np.int64)
    pixels = cache.pixels()
    return _Photos(
        pixels[[photo.row for photo in photos]],
        labels,
        pixels[[photo.row for photo in unknown]],
        tuple(photo.sha256 for photo in photos),
    )


def _unknown_of(dataset: Dataset, rule: SplitRule, split: Split) -> tuple[Photo, ...]:
    fitted, held_out = assign_unknown(dataset.unknown, rule.seed)
    return {Split.TRAIN: (), Split.VALIDATION: fitted, Split.TEST: held_out}[split]


def _name(split: Split | None) -> str:
    return split.value if split else "all"
