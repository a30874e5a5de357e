"""The best weights of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray

from pipeline.callbacks.averaging import Averaging
from pipeline.callbacks.quality import Quality
from pipeline.callbacks.state import State, numbered, unnumbered
from pipeline.callbacks.storage import write_tensors
from pipeline.errors import TrainingError


class BestModel(tf_keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest ``val_loss``, and puts them back at the end.

    Implements ``Stateful``.

    Args:
        stage: its name, for the message.
        path: safetensors file that always holds the best weights so far, as entries ``weight/0000``, ... in the order
            of ``Model.get_weights``; None keeps them in memory only.
        averaging: whose weights are kept; without, the model's own.

    Attributes:
        best: the lowest so far, None before there is one.
        best_epoch: its number, from 1; 0 before there is one.
        epochs: how many have been completed, those before a resume included.
    """

    def __init__(self, stage: str, path: Path | None = None, averaging: Averaging | None = None) -> None:
        super().__init__()
        self._stage, self._path, self._averaging = stage, path, averaging
        self._weights: list[NDArray[Any]] = []
        self.best: Quality | None = None
        self.best_epoch = self.epochs = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep this epoch's weights if they are the best.

        Raises:
            TrainingError: the file cannot be written; the last good one stays.
        """
        logs = logs or {}
        self.epochs = epoch + 1
        quality = Quality(logs.get("val_accuracy", math.nan), logs.get("val_loss", math.nan))
        if not (math.isfinite(quality.loss) and math.isfinite(logs.get("loss", 0.0)) and quality.beats(self.best)):
            return
        with self._averaging.applied() if self._averaging else nullcontext():
            self._weights = self.model.get_weights()
        self.best, self.best_epoch = quality, epoch + 1
        if self._path is not None:
            about = {"stage": self._stage, "epoch": str(epoch + 1), "val_loss": repr(float(quality.loss))}
            write_tensors(self._path, numbered(self._weights, "weight"), about)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Put the best weights back.

        Raises:
            TrainingError: not one epoch ended with a finite loss.
        """
        if self.best is None:
            raise TrainingError(
                f"the loss of stage '{self._stage}' became NaN in its first epoch; give a lower --learning-rate, or "
                f"train with --weights imagenet"
            )
        self.model.set_weights(self._weights)

    def state(self) -> State:
        """See ``Stateful``."""
        best = self.best or Quality(math.nan, math.nan)
        figures = np.array([best.accuracy, best.loss, self.best_epoch, self.epochs], np.float64)
        return {"figures": figures, **numbered(self._weights, "weight")}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See ``Stateful``."""
        accuracy, loss, best_epoch, epochs = state["figures"].tolist()
        self.best = Quality(accuracy, loss) if math.isfinite(loss) else None
        self.best_epoch, self.epochs = int(best_epoch), int(epochs)
        self._weights = unnumbered(state, "weight")
