"""Reasons to stop before the last epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray

from pipeline.callbacks.state import State


class _Stopping(tf_keras.callbacks.Callback):
    """Attributes:
    stopped_because: why it stopped the training, for people; empty as long as it has not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stopped_because = ""

    def _stop(self, reason: str) -> None:
        self.model.stop_training = True
        self.stopped_because = reason


class EarlyStopping(_Stopping):
    """Stops when ``val_loss`` has not been lower for ``patience`` epochs. Implements ``Stateful``.

    Keras' own keeps weights as well; here that is the work of ``BestModel``.
    """

    def __init__(self, patience: int) -> None:
        super().__init__()
        self._patience, self._lowest, self._waited = patience, math.inf, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Count."""
        loss = (logs or {}).get("val_loss", math.nan)
        if loss < self._lowest:
            self._lowest, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited >= self._patience:
            self._stop(f"validation loss not lower for {self._waited} epochs")

    def state(self) -> State:
        """See ``Stateful``."""
        return {"figures": np.array([self._lowest, self._waited], np.float64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See ``Stateful``."""
        lowest, waited = state["figures"].tolist()
        self._lowest, self._waited = lowest, int(waited)


class StopAtTarget(_Stopping):
    """Stops when ``val_accuracy`` has reached what was asked for.

    Args:
        val_accuracy: 0 to 1.
    """

    def __init__(self, val_accuracy: float) -> None:
        super().__init__()
        self._target = val_accuracy

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare."""
        accuracy = (logs or {}).get("val_accuracy", math.nan)
        if accuracy >= self._target:
            self._stop(f"validation accuracy {accuracy:.1%} reached the target of {self._target:.1%}")


class StopOnNan(_Stopping):
    """Stops at the first batch whose loss is no finite number: from there on nothing good can come."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """For the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keras' loss is the mean over the epoch so far: one NaN makes it NaN."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            self._stop(f"the loss became {loss} in epoch {self._epoch + 1}, batch {batch + 1}")
