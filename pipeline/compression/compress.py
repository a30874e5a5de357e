"""From a finished Run to a compressed form of it, kept in the Run. Imports TensorFlow only where it trains."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from device.memory import peak_rss_mb
from device.quiet import native_stderr_to
from pipeline.callbacks.state import numbered
from pipeline.callbacks.storage import write_tensors
from pipeline.compression.config import Plan
from pipeline.compression.photos import photos_of
from pipeline.compression.recipe import Recipe
from pipeline.compression.record import (
    COMPRESSED_SCHEMA,
    WEIGHTS,
    Compressed,
    CompressedRecord,
    find_kept,
    finish,
    keeping,
)
from pipeline.display import Display, Silent
from pipeline.errors import PipelineError
from pipeline.run import LOG, Run
from pipeline.workstation import require_tensorflow

if TYPE_CHECKING:
    from pipeline.compression.steps import PlanTrained


def compress(
    run: Run, plan: Plan, display: Display | None = None, data: Path | None = None, recipe: Recipe | None = None
) -> Compressed:
    """Compress the network of a run, and keep the result in it; a second call trains nothing.

    What a plan builds on (``pruned50`` for ``pruned50_qat``) is made, and kept, first.

    Args:
        run: finished.
        plan: what to do.
        display: is told how it goes.
        data: the folder of photos, where it has moved since.
        recipe: how; None: the usual.

    Raises:
        PipelineError: the backbone or the head cannot take it.
        DatasetError: photos that the run was trained on are gone or have changed.
        RunError: the run is damaged or cannot be written to.
        TrainingError: training failed.
    """
    refuse_unable(run, plan)
    kept = find_kept(run, plan)
    if kept is not None:
        return kept
    require_tensorflow()
    display = display or Silent()
    if plan.before is not None:
        compress(run, plan.before, display, data, recipe)
    photos = photos_of(run, data, display)
    with native_stderr_to(run.folder / LOG), keeping(run, plan) as scratch:
        from pipeline.compression.steps import train_plan

        trained = train_plan(run, plan, photos, recipe or Recipe(), display)
        about = {"run": run.record.created, "plan": plan.name}
        write_tensors(scratch / WEIGHTS, numbered(trained.model.get_weights(), "weight"), about)
        return finish(run, plan, scratch, _record(run, plan, trained))


def _record(run: Run, plan: Plan, trained: PlanTrained) -> CompressedRecord:
    return CompressedRecord(
        schema=COMPRESSED_SCHEMA,
        edgegraft_version=version("edgegraft"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        name=plan.name,
        run_created=run.record.created,
        builds_on=plan.before.name if plan.before else None,
        settings=trained.settings,
        steps=trained.steps,
        seconds=trained.seconds,
        peak_rss_mb=peak_rss_mb(),
        float_accuracy=trained.float_accuracy,
        validation_accuracy=trained.steps[-1].validation_accuracy,
        kernels=trained.kernels,
    )


def refuse_unable(run: Run, plan: Plan) -> None:
    """Refuse what cannot work, before photos are read or anything is trained.

    Raises:
        PipelineError: the backbone cannot take it (names what it can take), or the head cannot.
    """
    plan.require_backbone(run.record.backbone)
    if plan.qat and run.record.head.batch_norm:
        raise PipelineError(
            f"{run.folder}: its head has batch norm on the pooled features, which quantisation-aware training cannot "
            f"take; leave qat out, or train again without --head-batch-norm"
        )
