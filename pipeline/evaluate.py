"""Measures a Run or a Bundle on labelled photos; a Bundle through the runtime that the board uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.bundle import Bundle, open_bundle
from device.contract import Decision, PreprocessSpec, SplitRule
from device.engines import available, not_installed, open_engine
from device.prediction import calibrate
from device.quiet import native_stderr_dropped
from pipeline.cache import PixelCache, cache_root
from pipeline.dataset import Photo, Split, list_folder
from pipeline.display import Display, Silent, counted
from pipeline.errors import DatasetError, PipelineError
from pipeline.ingest import ingest
from pipeline.metrics import Scores, score
from pipeline.run import Run, open_run
from pipeline.split import assign


@dataclass(frozen=True, slots=True)
class VariantScores:
    """Scores of one variant; ``float`` is the trained model itself. Probabilities are calibrated as on the board."""

    variant: str
    scores: Scores


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured on what."""

    source: str
    split: str
    n: int
    results: tuple[VariantScores, ...]
    skipped: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """(n, height, width, 3) uint8 RGB and (n,) int64 labels in the model's order of classes."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def evaluate(source: Path, data: Path, split: Split | None, display: Display | None = None) -> Evaluation:
    """Measure a Run's float model or every variant of a Bundle.

    Args:
        source: a Run folder or a Bundle file.
        data: a folder of photos whose class folders are named as the model's classes.
        split: the same photos that training assigned to it; None for all photos of the folder.
        display: is told how it goes.

    Raises:
        PipelineError: the source is neither, or the photos do not fit it.
        DeviceError: the bundle is not intact or a variant does not run.
    """
    if source.is_dir():
        return _evaluate_run(open_run(source), data, split)
    if source.suffix in (".tflite", ".onnx"):
        raise PipelineError(
            f"{source}: a bare model does not say which classes and preprocessing it has; give the bundle or the run"
        )
    with open_bundle(source) as bundle:
        return _evaluate_bundle(bundle, data, split, display or Silent())


def _evaluate_run(run: Run, data: Path, split: Split | None) -> Evaluation:
    record = run.record
    labelled = _load(data, record.preprocess, record.classes, record.split, split)
    with native_stderr_dropped():
        from pipeline.trained import load_trained

        probabilities = load_trained(run).predict(labelled.pixels)
    scores = _calibrated_scores(probabilities, labelled, record.classes, record.decision)
    return Evaluation(str(run.folder), _name(split), scores.n, (VariantScores("float", scores),), {})


def _evaluate_bundle(bundle: Bundle, data: Path, split: Split | None, display: Display) -> Evaluation:
    manifest = bundle.manifest
    labelled = _load(data, manifest.preprocess, manifest.classes, manifest.training.split, split)
    results, skipped = [], {}
    for variant in manifest.variants:
        if not available(variant.engine):
            skipped[variant.name] = not_installed(variant.engine)
            continue
        display.begin(variant.name, len(labelled.labels), "photo")
        with open_engine(variant, bundle.model(variant)) as engine:
            answers = [engine.run(pixels) for pixels in counted(labelled.pixels, display)]
        display.end()
        scores = _calibrated_scores(np.stack(answers), labelled, manifest.classes, manifest.decision)
        results.append(VariantScores(variant.name, scores))
    return Evaluation(str(bundle.path), _name(split), len(labelled.labels), tuple(results), skipped)


def _calibrated_scores(
    probabilities: NDArray[np.float32], labelled: _Labelled, classes: tuple[str, ...], decision: Decision
) -> Scores:
    return score(calibrate(probabilities, decision.temperature), labelled.labels, classes)


def _load(
    data: Path, spec: PreprocessSpec, classes: tuple[str, ...], rule: SplitRule, split: Split | None
) -> _Labelled:
    listing = list_folder(data)
    foreign = sorted(set(listing.classes) - set(classes))
    if foreign:
        raise DatasetError(
            f"{data}: the model does not know {', '.join(foreign)}; its classes are {', '.join(classes)}"
        )
    cache = PixelCache(cache_root(), spec)
    dataset = ingest(listing, cache, spec)
    photos: tuple[Photo, ...] = dataset.photos if split is None else assign(dataset, rule)[split]
    if not photos:
        raise DatasetError(f"{data}: no photos in the {_name(split)} split; measure on all with --split all")
    labels = np.array([classes.index(dataset.classes[photo.label]) for photo in photos], np.int64)
    return _Labelled(cache.pixels()[[photo.row for photo in photos]], labels)


def _name(split: Split | None) -> str:
    return split.value if split else "all"
