"""The gate: what a variant must hold to travel; every check is in the report and in the JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from device.prediction import calibrate
from device.tryout import Tryout
from export.budget import Budget
from export.mixed import Mixed
from export.operators import Operators
from export.parity import Proof, Reference, worst_class
from export.recipe import Target
from pipeline.metrics import score

# Of the expected calibration error with the variant's own temperature; 145 photos alone make it stray by 0.03.
_MAX_CALIBRATION_DRIFT = 0.1
# In probability: one file, two processes, the same machine.
_SAME = 1e-5


@dataclass(frozen=True, slots=True)
class Check:
    """One condition.

    Attributes:
        name: in snake case.
        value: what was found.
        limit: the value must not be above it.
        passed: whether it holds.
        reason: a sentence, where it does not.
    """

    name: str
    value: float
    limit: float
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target.

    Attributes:
        target: what was asked for.
        model: the file's bytes, empty where it could not be made.
        zipped_bytes: its size when it is compressed: what pruning and clustering gain.
        proof: None where it could not be made or run.
        tryout: in a fresh process, on the golden inputs.
        checks: of the gate.
        mixed: what a search for layers that must stay in float found.
        failure: why there is no proof.
        warnings: what does not keep it out and should be known.
    """

    target: Target
    model: bytes = b""
    zipped_bytes: int = 0
    proof: Proof | None = None
    tryout: Tryout | None = None
    checks: tuple[Check, ...] = ()
    mixed: Mixed | None = None
    failure: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def included(self) -> bool:
        """Whether it may travel."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """Why it may not."""
        return self.failure or "; ".join(check.reason for check in self.checks if not check.passed)


def judge(
    proof: Proof,
    reference: Reference,
    budget: Budget,
    operators: Operators,
    tried: Tryout,
    golden: Sequence[int],
) -> tuple[Check, ...]:
    """Check a variant.

    Args:
        proof: of it.
        reference: the float model's answers.
        budget: what it may lose.
        operators: that the file holds.
        tried: on the golden inputs, in a fresh process.
        golden: indices of these among the validation photos.
    """
    measured = proof.measured
    varied = float(np.ptp(proof.probabilities, axis=0).max())
    apart = float(np.abs(tried.answers - proof.probabilities[list(golden)]).max())
    return (
        _check("answers_alike", 0.0 if varied > 0.0 else 1.0, 0.0, "one and the same answer to every photo"),
        *judge_accuracy(proof, reference, budget),
        _check(
            "calibration_drift",
            measured.calibration_drift,
            _MAX_CALIBRATION_DRIFT,
            f"its probabilities are off by {measured.expected_calibration_error:.3f} on average, "
            f"{measured.calibration_drift:.3f} more than the float model's; {_MAX_CALIBRATION_DRIFT} is allowed",
        ),
        _check(
            "foreign_operators",
            len(operators.foreign),
            0,
            f"holds operators that a plain runtime lacks: {', '.join(operators.foreign)}",
        ),
        _check(
            "fresh_process_difference",
            apart,
            _SAME,
            f"in a fresh process its answers differ by {apart:.4f}: the file does not give what was proved",
        ),
    )


def judge_accuracy(proof: Proof, reference: Reference, budget: Budget) -> tuple[Check, ...]:
    """The part of ``judge`` that is a matter of the budget."""
    drop = proof.measured.drop_points
    return (
        _check(
            "drop_points",
            drop,
            budget.max_drop_points,
            f"accuracy drops by {drop:.2f} points, --max-drop allows {budget.max_drop_points:.2f}",
        ),
        _class_check(proof, reference, budget),
    )


def _class_check(proof: Proof, reference: Reference, budget: Budget) -> Check:
    own = score(calibrate(proof.probabilities, proof.decision.temperature), reference.labels, reference.classes)
    drop, limit = worst_class(own, reference.score), budget.max_class_drop_points
    # A single photo is no evidence, however few a class has.
    passed = drop.points <= limit or drop.photos <= 1
    reason = (
        f"class '{drop.name}' loses {drop.points:.1f} points ({drop.photos} photos), "
        f"--max-class-drop allows {limit:.1f}"
    )
    return Check("worst_class_drop_points", drop.points, limit, passed, "" if passed else reason)


def _check(name: str, value: float, limit: float, reason: str) -> Check:
    # A NaN is neither above nor below, and fails.
    passed = value <= limit
    return Check(name, float(value), float(limit), passed, "" if passed else reason)
