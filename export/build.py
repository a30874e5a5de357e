"""Run to Bundle: convert, prove, judge, write."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from device.contract import EngineKind, Training, TrainingStatistics
from device.picture_statistics import summarise
from device.prediction import calibrate
from device.quiet import native_stderr_to
from export.boards import USUAL, Selection
from export.budget import Budget
from export.errors import ParityError
from export.gate import Outcome
from export.package import Contents, Proven, bundle_name, write_package
from export.recipe import Form, Recipe, Target, targets
from export.report import render_report
from pipeline.compression.compress import compress, refuse_unable
from pipeline.display import Display, Silent
from pipeline.errors import PipelineError
from pipeline.metrics import Scores
from pipeline.run import EXPORT_REPORT, LOG, ExportPhotos, Run, open_run, write_atomically

if TYPE_CHECKING:
    from export.parity import Reference
    from export.workshop import Workshop


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What to export.

    Attributes:
        run: a finished Run folder.
        out: the bundle to write.
        selection: what to make, and how a board chooses.
        budget: what a variant may lose; above it, it stays out.
        version: of the bundle.
        data: the folder of photos, where it has moved since the training and a form is trained anew.
    """

    run: Path
    out: Path
    selection: Selection = USUAL
    budget: Budget = field(default_factory=Budget)
    version: str = "1.0.0"
    data: Path | None = None


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

    Where static int8 misses its budget, what the selection has to fall back on is tried. The report is written into the
    Run as well, also when no variant passes.

    Raises:
        RunError: the run is missing or incomplete.
        PipelineError: the backbone cannot take a training that a form asks for, or its photos are gone.
        ParityError: no variant passed; which figure failed is in the message and in the report.
    """
    start = time.monotonic()
    run, display = open_run(config.run), display or Silent()
    photos = run.photos()
    train = _Trainer(run, config.data, display)
    train(config.selection.forms)
    with native_stderr_to(run.folder / LOG):
        # TensorFlow is imported from here on, with its chatter going to the run's log.
        from export.workshop import Naming, Workshop

        naming = Naming(bundle_name(config.out), config.version)
        workshop = Workshop(run, photos, config.budget, naming, display, config.selection.accelerated)
        outcomes = tuple(_make_all(workshop, config.selection, train))
        reference, golden = workshop.reference, workshop.golden
    report = render_report(run.record, photos, reference, outcomes, config.budget, config.selection.choice)
    write_atomically(run.folder / EXPORT_REPORT, report)
    proven = [_proven(outcome) for outcome in outcomes if outcome.included]
    if not proven:
        reasons = "; ".join(f"{outcome.target.name}: {outcome.reason}" for outcome in outcomes)
        raise ParityError(
            f"no variant passed, no bundle was written ({reasons}). Allow more with --max-drop, or train on more "
            f"photos; see {run.folder / EXPORT_REPORT}"
        )
    seen = _seen(photos, reference)
    write_package(config.out, _contents(config, run, photos, golden, report, seen), proven)
    report_path = run.folder / EXPORT_REPORT
    return ExportResult(config.out, report_path, reference.score, outcomes, time.monotonic() - start)


@dataclass(frozen=True, slots=True)
class _Trainer:
    """Trains what forms need and the Run does not have yet."""

    run: Run
    data: Path | None
    display: Display

    def __call__(self, forms: Iterable[Form]) -> None:
        plans = list(dict.fromkeys(form.plan for form in forms if form.plan is not None))
        # All are refused before any is trained.
        for plan in plans:
            refuse_unable(self.run, plan)
        for plan in plans:
            compress(self.run, plan, self.display, self.data)


def _make_all(workshop: Workshop, selection: Selection, train: _Trainer) -> Iterator[Outcome]:
    for target in targets(selection.forms, selection.engines):
        outcome = workshop.make(target)
        is_default = target.form == Form(Recipe.STATIC_INT8)
        yield workshop.warn_of_calibration(outcome) if is_default else outcome
        if is_default and not outcome.included:
            yield from _fall_back(workshop, target.engine, selection, train)


def _fall_back(workshop: Workshop, engine: EngineKind, selection: Selection, train: _Trainer) -> Iterator[Outcome]:
    for form in selection.fallback:
        if engine not in form.recipe.engines or form in selection.forms:
            continue
        target = Target(engine, form)
        try:
            train([form])
        except PipelineError as err:
            # Nobody asked for it: a backbone that cannot take it, or photos that are gone, end no export.
            yield Outcome(target, failure=str(err))
            continue
        outcome = workshop.make(target)
        yield outcome
        if outcome.included:
            return


def _proven(outcome: Outcome) -> Proven:
    assert outcome.proof is not None
    target = outcome.target
    return Proven(target.name, target.engine, target.form.text, outcome.model, outcome.proof)


def _seen(photos: ExportPhotos, reference: Reference) -> TrainingStatistics | None:
    # For the board, which tells a dirty, dark or new sight by it.
    if not len(photos.calibration):
        return None
    decision = reference.decision
    probabilities = calibrate(reference.probabilities, decision.temperature)
    return summarise(photos.calibration, probabilities, decision.unknown_threshold)


def _contents(
    config: ExportConfig,
    run: Run,
    photos: ExportPhotos,
    golden: list[int],
    report: bytes,
    seen: TrainingStatistics | None,
) -> Contents:
    record = run.record
    return Contents(
        version=config.version,
        classes=record.classes,
        preprocess=record.preprocess,
        golden=golden,
        inputs=photos.validation[golden],
        report=report,
        training=Training(
            backbone=record.backbone,
            seed=record.seed,
            photos_train=record.photos.train,
            photos_validation=record.photos.validation,
            photos_test=record.photos.test,
            test_accuracy=record.test.accuracy,
            split=record.split,
            edgegraft_version=version("edgegraft"),
            statistics=seen,
        ),
        choice=config.selection.choice,
    )
