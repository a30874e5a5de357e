"""What is around a training: where it keeps things, whom it tells, which machines take part. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.cache import cache_root
from pipeline.callbacks.history import CsvHistory
from pipeline.callbacks.mlflow_log import MlflowRun
from pipeline.callbacks.quality import Quality
from pipeline.callbacks.tensorboard_log import TensorBoardLog
from pipeline.config import Workers
from pipeline.display import Display
from pipeline.distribute import (
    has_gpu,
    make_strategy,
    require_same,
    require_shared_folder,
    sum_over_workers,
    use_mixed_precision,
)
from pipeline.job import Job
from pipeline.run import BACKUP, HISTORY


@dataclass(frozen=True, slots=True)
class Session:
    """Passed down to every stage.

    Attributes:
        folder: of the run.
        cache: on a disk with room for views; see ``pipeline.cache.cache_root``.
        display: is told how it goes.
        fingerprint: of everything that makes this training another one: photos, config, version.
        strategy: a ``tf.distribute.Strategy``; its scope holds every variable.
        workers: which process this is.
        gpu: whether steps run on one.
        tensorboard: folder of event files, if wanted.
        mlflow: the run there, if wanted.
    """

    folder: Path
    cache: Path
    display: Display
    fingerprint: str
    strategy: Any
    workers: Workers
    gpu: bool
    tensorboard: Path | None = None
    mlflow: MlflowRun | None = None

    def logs(self, stage: str) -> list[tf_keras.callbacks.Callback]:
        """Callbacks that write a stage's figures down; one process does."""
        if not self.workers.is_chief:
            return []
        made: list[tf_keras.callbacks.Callback] = [CsvHistory(self.folder / HISTORY, stage)]
        if self.tensorboard is not None:
            made.append(TensorBoardLog(self.tensorboard, stage))
        if self.mlflow is not None:
            made.append(self.mlflow.log(stage))
        return made

    def backup_path(self, stage: str) -> Path:
        """Of a stage's last whole epoch."""
        return self.folder / BACKUP / f"{stage}.safetensors"

    def alone(self) -> Session:
        """For a stage that every process does by itself, on one device."""
        workers = Workers(index=self.workers.index)
        return replace(self, strategy=tf.distribute.get_strategy(), workers=workers)

    def undistributed(self, model: tf_keras.Model) -> tf_keras.Model:
        """A copy that can be converted and that this process can run by itself, or the model where it is such a one.

        All workers have to call it.
        """
        if self.strategy.num_replicas_in_sync == 1:
            return model
        copy = tf_keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        return copy

    def agree(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """The mean over all processes: machines round differently, and weights must begin equal everywhere."""
        if self.workers.count == 1:
            return arrays
        share = 1 / self.workers.count
        return [sum_over_workers(self.strategy, np.asarray(array, np.float32) * share) for array in arrays]

    def agree_on(self, quality: Quality) -> Quality:
        """``agree`` for what decides when to stop: all have to do so after the same epoch."""
        [figures] = self.agree([np.array([quality.accuracy, quality.loss])])
        return Quality(*map(float, figures)) if self.workers.count > 1 else quality

    def require_same_start(self, stage: str, epoch: int) -> None:
        """See that all workers go on after the same epoch.

        Raises:
            PipelineError: they do not.
        """
        if self.workers.count > 1:
            message = f"stage '{stage}': worker {{others}} read another backup than worker 0; give all one shared --out"
            require_same(self.strategy, self.workers, str(epoch), message)

    def fit_input(self, dataset: tf.data.Dataset) -> Any:
        """What ``fit`` takes: a process's batches, each for one of its devices in turn."""
        if self.strategy.num_replicas_in_sync == 1:
            return dataset
        return self.strategy.distribute_datasets_from_function(lambda context: dataset)


@contextmanager
def open_session(job: Job, display: Display) -> Iterator[Session]:
    """Everything around one training, as its config asks.

    Raises:
        PipelineError: a package or a device that was asked for is not there.
    """
    config, gpu = job.config, has_gpu()
    if gpu:
        use_mixed_precision()
    strategy = make_strategy(config.workers)
    if config.workers.count > 1:
        message = "worker {others} has other photos or options than worker 0; give all workers the same"
        require_same(strategy, config.workers, job.fingerprint(), message)
        require_shared_folder(strategy, config.workers, config.out / BACKUP)
    with ExitStack() as stack:
        mlflow = None
        if config.logging.mlflow is not None and config.workers.is_chief:
            parameters = {"backbone": job.backbone.name, "budget": config.budget.value, "seed": config.seed}
            run = MlflowRun(config.logging.mlflow, config.data.name or "photos", config.out.name, parameters)
            mlflow = stack.enter_context(run)
        yield Session(
            folder=config.out,
            cache=cache_root(),
            display=display,
            fingerprint=job.fingerprint(),
            strategy=strategy,
            workers=config.workers,
            gpu=gpu,
            tensorboard=config.logging.tensorboard,
            mlflow=mlflow,
        )
