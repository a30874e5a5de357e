"""The end of a training: thresholds on validation, one look at test, the Run folder and its report."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision
from device.memory import peak_rss_mb
from device.prediction import calibrate
from pipeline.calibrate import fit_decision, measure_unknown
from pipeline.callbacks.state import numbered
from pipeline.callbacks.storage import write_tensors
from pipeline.config import Budget
from pipeline.dataset import Split, printable
from pipeline.display import Display
from pipeline.fitted import Fitted, Labelled
from pipeline.job import Job
from pipeline.looks import record_look
from pipeline.metrics import Scores, score
from pipeline.report import render_report
from pipeline.report.environment import describe_environment
from pipeline.report.examples import choose_examples
from pipeline.report.inputs import Absent, EpochPoint, Examples, ReportInputs
from pipeline.robustness import BATCHES, RobustnessTable, evenly, robustness_table
from pipeline.run import (
    REPORT,
    RUN_SCHEMA,
    SPLITS,
    WEIGHTS,
    ExportPhotos,
    HeadRecord,
    PhotoCounts,
    Run,
    RunRecord,
    TestScore,
    discard_backup,
    save_csv,
    save_photos,
    save_record,
    write_atomically,
)

# More photos do not sharpen ranges of activations, they only take time.
_MOST_CALIBRATION_PHOTOS = 200
_MOST_EXPORT_VALIDATION_PHOTOS = 2000


def conclude(job: Job, fitted: Fitted, settings: dict[str, Any], display: Display, start: float) -> Run:
    """Choose temperature and threshold on validation, measure test once, write everything.

    Args:
        job: what was asked for.
        fitted: what came of it.
        settings: for the record, nested by name.
        display: is told how it goes.
        start: of the training, by ``time.monotonic``.

    Returns:
        the complete Run.
    """
    classifier, classes = fitted.classifier, job.dataset.classes
    validation, test = job.labelled(Split.VALIDATION), job.labelled(Split.TEST)
    to_fit, held_out = (classifier.predict(job.pixels_of(photos)) if photos else None for photos in job.unknown)
    probabilities = classifier.predict(validation.pixels)
    decision = fit_decision(probabilities, validation.labels, to_fit)
    raw = classifier.predict(test.pixels)
    test_score = score(calibrate(raw, decision.temperature), test.labels, classes)
    looks = record_look(job.config.out, "train", test_score.accuracy)
    _save_files(job, fitted, validation)
    unknown = measure_unknown(raw, test.labels, decision, held_out)
    robustness = _robustness(job, fitted, test, display)
    examples = _examples(job, fitted, test, calibrate(raw, decision.temperature))
    record = _record(
        job, fitted, settings, decision, score(probabilities, validation.labels, classes), test_score, start
    )
    inputs = ReportInputs(
        record=record,
        test=test_score,
        test_uncalibrated=score(raw, test.labels, classes),
        unknown=unknown,
        looks=looks,
        history=tuple(
            EpochPoint(line.stage, line.epoch, line.train_loss, None, line.validation_loss, line.validation_accuracy)
            for line in fitted.history
        ),
        examples=examples,
        robustness=robustness,
        environment=describe_environment(),
    )
    write_atomically(job.config.out / REPORT, render_report(inputs))
    run = save_record(job.config.out, record)
    discard_backup(job.config.out)
    return run


def _robustness(job: Job, fitted: Fitted, test: Labelled, display: Display) -> RobustnessTable | Absent:
    if job.config.budget is Budget.FAST:
        return Absent("'--budget fast' leaves it out; 'edgegraft evaluate RUN PHOTOS --robustness' measures it")
    display.begin("robustness", BATCHES, "set")
    table = robustness_table(
        fitted.classifier.predict, test.pixels, test.labels, job.config.seed, on_batch=display.advance
    )
    display.end()
    return table


def _examples(job: Job, fitted: Fitted, test: Labelled, probabilities: NDArray[np.float32]) -> Examples:
    files = [str(photo.path.relative_to(job.dataset.root)) for photo in job.splits[Split.TEST]]
    return choose_examples(
        test.pixels, probabilities, test.labels, job.dataset.classes, files, fitted.classifier.heatmaps
    )


def _save_files(job: Job, fitted: Fitted, validation: Labelled) -> None:
    folder, seed, train = job.config.out, job.config.seed, job.splits[Split.TRAIN]
    about = {"backbone": job.backbone.name, "edgegraft": version("edgegraft")}
    write_tensors(folder / WEIGHTS, numbered(fitted.classifier.weights(), "weight"), about)
    chosen = evenly(np.array([photo.label for photo in train], np.int64), _MOST_CALIBRATION_PHOTOS, seed)
    shown = evenly(validation.labels, _MOST_EXPORT_VALIDATION_PHOTOS, seed)
    calibration = job.pixels_of([train[index] for index in chosen])
    unknown = job.pixels_of(job.unknown[0])
    save_photos(folder, ExportPhotos(calibration, validation.pixels[shown], validation.labels[shown], unknown))
    calibrating = {train[index].row for index in chosen}
    rows = [
        (
            split.value,
            job.dataset.classes[photo.label],
            str(photo.path.relative_to(job.dataset.root)),
            photo.sha256,
            "yes" if photo.row in calibrating else "",
        )
        for split, photos in job.splits.items()
        for photo in photos
    ]
    save_csv(folder / SPLITS, ("split", "class", "file", "sha256", "calibration"), rows)


def _record(
    job: Job,
    fitted: Fitted,
    settings: dict[str, Any],
    decision: Decision,
    validation: Scores,
    test: Scores,
    start: float,
) -> RunRecord:
    config, dataset = job.config, job.dataset
    return RunRecord(
        schema=RUN_SCHEMA,
        edgegraft_version=version("edgegraft"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        data=printable(config.data),
        backbone=job.backbone.name,
        weights=printable(config.weights),
        head=HeadRecord(**asdict(config.head)),
        budget=config.budget.value,
        teacher=printable(config.teacher) if config.teacher else None,
        seed=config.seed,
        classes=dataset.classes,
        preprocess=job.spec,
        split=job.rule,
        photos=PhotoCounts(**{split.value: len(photos) for split, photos in job.splits.items()}),
        photos_per_class=dataset.counts(),
        left_out=dict(dataset.left_out),
        hyperparameters=_flat(settings),
        stages=fitted.stages,
        seconds=time.monotonic() - start,
        peak_rss_mb=peak_rss_mb(),
        decision=decision,
        validation_accuracy=validation.accuracy,
        test=TestScore(
            accuracy=test.accuracy,
            low=test.low,
            high=test.high,
            n=test.n,
            macro_f1=test.macro_f1,
            expected_calibration_error=test.expected_calibration_error,
        ),
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, float | int | str | bool]:
    flat: dict[str, float | int | str | bool] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        elif value is not None:
            flat[prefix + name] = value
    return flat
