"""Photos to a Run. Imports TensorFlow only where the budget needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from device.console import say
from device.quiet import native_stderr_to
from pipeline.cache import cache_root
from pipeline.conclude import conclude
from pipeline.config import Budget, TrainConfig
from pipeline.display import Display, Silent
from pipeline.fitted import Fitted
from pipeline.job import Job, prepare_job
from pipeline.run import BACKUP, LOG, Run, open_run
from pipeline.supervise import Phase, supervise
from pipeline.workers import wait_seconds
from pipeline.workstation import require_tensorflow


def train(config: TrainConfig, display: Display | None = None) -> Run:
    """Train a classifier and write the Run folder.

    A training that was killed goes on after its last whole epoch when it is called again.

    Args:
        config: what; of several workers the first calls this, the others ``assist``.
        display: is told how it goes.

    Raises:
        DatasetError: the photos cannot be trained on.
        WeightsError: the pretrained weights cannot be had.
        RunError: something is in the way at ``config.out``.
        TrainingError: training failed.
    """
    require_tensorflow()
    display = display or Silent()
    if config.workers.count > 1:
        supervise(config, partial(_train_as_worker, display))
        return open_run(config.out)
    start = time.monotonic()
    job = prepare_job(config, display)
    with native_stderr_to(config.out / LOG):
        job, fitted, settings = _fit(job, display)
        return conclude(job, fitted, settings, display, start)


def assist(config: TrainConfig) -> None:
    """Do one worker's share of a training on several machines; the first worker writes the Run.

    Raises:
        PipelineError: as ``train`` does.
    """
    require_tensorflow()
    supervise(config, partial(_train_as_worker, Silent()))


def _train_as_worker(display: Display, config: TrainConfig, report: Callable[[Phase], None]) -> None:
    """One attempt of one worker, see ``supervise``; returns when worker 0 has written the run."""
    start, workers = time.monotonic(), config.workers
    job = prepare_job(config, display)
    # Other files of the run are written by worker 0 alone.
    log = config.out / LOG if workers.is_chief else config.out / BACKUP / f"worker-{workers.index}.{LOG}"
    log.parent.mkdir(exist_ok=True)
    with native_stderr_to(log):
        from pipeline.distribute import make_strategy, wait_for_all

        say(f"worker {workers.index} of {workers.count}: waits for the others, {wait_seconds():g} s at most")
        report(Phase.WAITING)
        make_strategy(workers)
        report(Phase.JOINED)
        say(f"worker {workers.index} of {workers.count}: all are there")
        job, fitted, settings = _fit(job, display)
        if workers.is_chief:
            conclude(job, fitted, settings, display, start)
        # If worker 0 is lost before the end it needs the others once more.
        wait_for_all(workers)


def _fit(job: Job, display: Display) -> tuple[Job, Fitted, dict[str, Any]]:
    config = job.config
    if config.budget is Budget.FAST and config.head.is_linear:
        from pipeline.fast import fit_fast

        return job, fit_fast(job.task(), cache_root(), display), {}
    if config.budget is Budget.BEST:
        from pipeline.search import fit_best

        return fit_best(job, display)
    return _fit_with_tensorflow(job, display)


def _fit_with_tensorflow(job: Job, display: Display) -> tuple[Job, Fitted, dict[str, Any]]:
    from pipeline.fitting import fit_job
    from pipeline.recipes import recipe_for
    from pipeline.session import open_session

    recipe = recipe_for(job)
    with open_session(job, display) as session:
        return job, fit_job(job, recipe, session), asdict(recipe)
