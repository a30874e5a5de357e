"""Validation after every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import tf_keras

from pipeline.callbacks.averaging import Averaging
from pipeline.callbacks.quality import Quality


class Validation(tf_keras.callbacks.Callback):
    """Writes ``val_loss`` and ``val_accuracy`` into the logs that the callbacks behind this one read.

    After an epoch whose loss is no number nothing is measured, and both are NaN.

    Args:
        measure: gives the model's quality on validation.
        averaging: whose weights are measured; without, the model's own.
    """

    def __init__(self, measure: Callable[[], Quality], averaging: Averaging | None = None) -> None:
        super().__init__()
        self._measure, self._averaging = measure, averaging

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure."""
        logs = {} if logs is None else logs
        quality = Quality(math.nan, math.nan)
        if math.isfinite(logs.get("loss", 0.0)):
            with self._averaging.applied() if self._averaging else nullcontext():
                quality = self._measure()
        logs["val_loss"], logs["val_accuracy"] = quality.loss, quality.accuracy
