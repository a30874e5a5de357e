"""A lower learning rate where validation gets no better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray

from pipeline.callbacks.state import State
from pipeline.learning_rate import scale_learning_rate


class ReduceOnPlateau(tf_keras.callbacks.Callback):
    """Multiplies the learning rate by ``factor`` after ``patience`` epochs without a lower ``val_loss``.

    Unlike Keras' own it works on a ``WarmupCosine``, whose values it scales from then on, as well as on a constant
    rate. Implements ``Stateful``.

    Args:
        factor: above 0, below 1.
        patience: epochs.

    Attributes:
        multiplier: what the rate is multiplied by now.
    """

    def __init__(self, factor: float, patience: int) -> None:
        super().__init__()
        if not 0.0 < factor < 1.0:
            raise ValueError(f"factor {factor}: expected 0 < factor < 1")
        self._factor, self._patience = factor, patience
        self._lowest, self._waited = math.inf, 0
        self.multiplier = self._restored = 1.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """After a resume the rate is as low as it was.

        Raises:
            TrainingError: the rate follows a schedule other than ``WarmupCosine``.
        """
        scale_learning_rate(self.model.optimizer, self._restored)
        self._restored = 1.0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Count."""
        loss = (logs or {}).get("val_loss", math.nan)
        if loss < self._lowest:
            self._lowest, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited >= self._patience:
            self._waited = 0
            self.multiplier *= self._factor
            scale_learning_rate(self.model.optimizer, self._factor)

    def state(self) -> State:
        """See ``Stateful``."""
        return {"figures": np.array([self._lowest, self._waited, self.multiplier], np.float64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See ``Stateful``."""
        lowest, waited, self.multiplier = state["figures"].tolist()
        self._lowest, self._waited, self._restored = lowest, int(waited), self.multiplier
