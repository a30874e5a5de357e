"""Fits how sure the model may be, on validation photos: temperature and unknown threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision
from device.prediction import calibrate

_TEMPERATURES = np.geomspace(0.25, 4.0, 81)
# Right answers that may be lost to "unknown".
_LOST_RIGHT_ANSWERS = 0.02
# A threshold above a half would call answers unknown that are more likely right than wrong.
_HIGHEST_THRESHOLD = 0.5


def fit_decision(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Decision:
    """Temperature by least negative log-likelihood, then the threshold under which 2 % of right answers lie.

    Args:
        probabilities: (n, classes) float32 on validation photos, never on test.
        labels: (n,) integers.
    """
    losses = [_negative_log_likelihood(calibrate(probabilities, float(t)), labels) for t in _TEMPERATURES]
    temperature = float(_TEMPERATURES[int(np.argmin(losses))])
    calibrated = calibrate(probabilities, temperature)
    right = calibrated.max(axis=1)[calibrated.argmax(axis=1) == labels]
    threshold = float(np.quantile(right, _LOST_RIGHT_ANSWERS)) if len(right) else 0.0
    return Decision(temperature=round(temperature, 4), unknown_threshold=round(min(threshold, _HIGHEST_THRESHOLD), 4))


def _negative_log_likelihood(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    picked = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(picked, 1e-7)).mean())
