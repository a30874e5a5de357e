"""What several workers have to do together, so that none of them waits for another in vain."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray


class AgreedLoss(tf_keras.callbacks.Callback):
    """Makes the mean of all workers' losses the epoch's loss, and stops all of them when it is no number.

    Stands before all callbacks that read the loss. ``StopOnNan`` would stop one worker a batch before the others.

    Args:
        agree: gives the mean over all workers of each array.
    """

    def __init__(self, agree: Callable[[list[NDArray[Any]]], list[NDArray[Any]]]) -> None:
        super().__init__()
        self._agree = agree

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Agree."""
        logs = {} if logs is None else logs
        [loss] = self._agree([np.array([logs["loss"]])])
        logs["loss"] = float(loss[0])
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True


class ReadWeights(tf_keras.callbacks.Callback):
    """Takes part when worker 0 reads the weights for its ``Backup``: each has statistics of batch norm of its own."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Read; worker 0 reads nothing after an epoch whose loss is no number."""
        if math.isfinite((logs or {}).get("loss", 0.0)):
            self.model.get_weights()
