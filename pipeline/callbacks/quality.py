"""How good a model is on validation. Imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quality:
    """On validation. ``loss``, the mean negative log-likelihood, decides.

    A hundred photos tell two epochs apart by their loss; by accuracy, in steps of a photo, mostly luck does.

    Attributes:
        accuracy: share of right answers, 0 to 1.
        loss: nats per photo; NaN where a probability is none.
    """

    accuracy: float
    loss: float

    def beats(self, other: Quality | None) -> bool:
        """Whether this one is better. NaN beats nothing."""
        return self.loss < (float("inf") if other is None else other.loss)
