"""The curves of a training for MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import tf_keras

from pipeline.callbacks.optional import load_optional
from pipeline.learning_rate import current_learning_rate


class MlflowRun:
    """One MLflow run for all stages of a training: a context manager, so that a failed training shows as failed.

    Args:
        tracking_uri: where MLflow keeps its runs: ``http://HOST:5000``, ``sqlite:///FILE``.
        experiment: is made where there is none.
        name: of the run.
        parameters: shown beside it, such as the hyperparameters.

    Raises:
        PipelineError: the package mlflow-skinny is not installed.
    """

    def __init__(self, tracking_uri: str, experiment: str, name: str, parameters: Mapping[str, object]) -> None:
        self._client = load_optional("mlflow", "mlflow-skinny").MlflowClient(tracking_uri)
        self._experiment, self._name, self._parameters = experiment, name, dict(parameters)
        self.id = ""

    def __enter__(self) -> MlflowRun:
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self.id = self._client.create_run(experiment, run_name=self._name).info.run_id
        for name, value in self._parameters.items():
            self._client.log_param(self.id, name, value)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.set_terminated(self.id, "FINISHED" if kind is None else "FAILED")

    def log(self, stage: str) -> MlflowLog:
        """A callback that writes a stage's epochs into this run."""
        return MlflowLog(self._client, self.id, stage)


class MlflowLog(tf_keras.callbacks.Callback):
    """Writes losses, accuracy and learning rate by epoch as ``STAGE/NAME``. ``MlflowRun.log`` makes one."""

    def __init__(self, client: Any, run: str, stage: str) -> None:
        super().__init__()
        self._client, self._run, self._stage = client, run, stage

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the epoch."""
        figures = {**(logs or {}), "learning_rate": current_learning_rate(self.model.optimizer)}
        for name, value in figures.items():
            if math.isfinite(value):  # MLflow's databases refuse NaN
                self._client.log_metric(self._run, f"{self._stage}/{name}", float(value), step=epoch + 1)
