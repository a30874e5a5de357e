"""Fits how sure the model may be: temperature and unknown threshold; and measures what that threshold does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision
from device.prediction import calibrate
from pipeline.metrics import Proportion, proportion

_TEMPERATURES = np.geomspace(0.25, 4.0, 81)
# Right answers that may be lost to "unknown" where nothing says how unknown things look.
_LOST_RIGHT_ANSWERS = 0.02
# Photos of unknown things show what the threshold gains, and that is worth a few more.
_MOST_LOST_RIGHT_ANSWERS = 0.05
# Without such photos, a threshold above a half would call answers unknown that are more likely right than wrong.
_HIGHEST_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class UnknownReport:
    """What the unknown threshold does on photos that it was not fitted on; None where there is nothing to count.

    Attributes:
        threshold: calibrated probability under which the answer is "unknown".
        wrong_removed: of the wrong answers, those that became "unknown": a gain.
        right_lost: of the right answers, those that became "unknown": a loss.
        unknown_found: of the photos of no class (``_unknown``), those called "unknown".
    """

    threshold: float
    wrong_removed: Proportion | None
    right_lost: Proportion | None
    unknown_found: Proportion | None


def fit_decision(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], unknown: NDArray[np.float32] | None = None
) -> Decision:
    """Temperature by least negative log-likelihood, then the threshold.

    Without photos of unknown things the threshold is where 2 % of right answers lie under it, and a half at most.
    With them it is where the share of them that falls under it, less the share of right answers that does (Youden
    1950), is greatest, among the thresholds under which at most 5 % of right answers lie.

    Args:
        probabilities: (n, classes) float32 on validation photos, never on test.
        labels: (n,) integers.
        unknown: (m, classes) float32 on photos of no class, those kept for fitting (see ``split.assign_unknown``).
    """
    # Rounded first: the threshold must fit the temperature that is written down.
    temperature = round(fit_temperature(probabilities, labels)[0], 4)
    calibrated = calibrate(probabilities, temperature)
    right = calibrated.max(axis=1)[calibrated.argmax(axis=1) == labels]
    if not len(right):
        threshold = 0.0
    elif unknown is None or not len(unknown):
        threshold = min(float(np.quantile(right, _LOST_RIGHT_ANSWERS)), _HIGHEST_THRESHOLD)
    else:
        threshold = _threshold_between(calibrate(unknown, temperature).max(axis=1), right)
    return Decision(temperature=temperature, unknown_threshold=round(threshold, 4))


def fit_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """The temperature of least negative log-likelihood, and that mean, in nats, for (n, classes) float32."""
    losses = [_negative_log_likelihood(calibrate(probabilities, float(t)), labels) for t in _TEMPERATURES]
    best = int(np.argmin(losses))
    return float(_TEMPERATURES[best]), losses[best]


def measure_unknown(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    decision: Decision,
    unknown: NDArray[np.float32] | None = None,
) -> UnknownReport:
    """Count what the unknown threshold does.

    Args:
        probabilities: (n, classes) float32 as the model gave them, not calibrated; on test photos.
        labels: (n,) integers.
        decision: from ``fit_decision``.
        unknown: (m, classes) float32 on photos of no class, those held out from fitting.
    """
    calibrated = calibrate(probabilities, decision.temperature)
    rejected = calibrated.max(axis=1) < decision.unknown_threshold
    right = calibrated.argmax(axis=1) == labels
    found = None
    if unknown is not None and len(unknown):
        found = proportion(calibrate(unknown, decision.temperature).max(axis=1) < decision.unknown_threshold)
    return UnknownReport(decision.unknown_threshold, proportion(rejected[~right]), proportion(rejected[right]), found)


def _threshold_between(unknown: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """The threshold of most unknown found less right lost; of equals the lowest, as it loses the least."""
    confidences = np.unique(np.concatenate([unknown, right]).astype(np.float64))
    # Half-way between two confidences, so that other photos have the margin on both sides; 0 calls nothing unknown.
    candidates = np.concatenate([[0.0], (confidences[:-1] + confidences[1:]) / 2])
    found = np.searchsorted(np.sort(unknown), candidates) / len(unknown)
    lost = np.searchsorted(np.sort(right), candidates) / len(right)
    gain = np.where(lost <= _MOST_LOST_RIGHT_ANSWERS, found - lost, -1.0)
    return float(candidates[int(np.argmax(gain))])


def _negative_log_likelihood(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    picked = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(picked, 1e-7)).mean())
