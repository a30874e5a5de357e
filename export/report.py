"""The report page: one HTML file that needs nothing else, written into the Run and the Bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from device.bench import machine_model
from device.choice import explain
from device.contract import Choice
from device.prediction import calibrate
from export.budget import Budget
from export.gate import Outcome
from export.pareto import Plane, draw_plane
from export.parity import Reference
from pipeline.metrics import Scores, score
from pipeline.report.examples import thumbnail
from pipeline.run import ExportPhotos, RunRecord

_TEMPLATE = "report.html"
_MOST_CHANGED = 24
_MOST_LAYERS = 20
# Accuracy, as a fraction, below the best that the charts of costs show.
_MOST_LOST = 0.15


@dataclass(frozen=True, slots=True)
class _Confusion:
    """Of one variant; ``moved`` is its matrix less the float model's."""

    name: str
    scores: Scores
    moved: list[list[int]]


@dataclass(frozen=True, slots=True)
class _Changed:
    """A photo that variants answer otherwise than the float model does."""

    image: str
    truth: str
    exact: str
    answers: list[tuple[str, str]]


def render_report(
    record: RunRecord,
    photos: ExportPhotos,
    reference: Reference,
    outcomes: Sequence[Outcome],
    budget: Budget,
    choice: Choice,
) -> bytes:
    """Fill the page.

    Args:
        record: of the run; names in it come from folders and are escaped.
        photos: of the run.
        reference: the float model's answers to the validation photos.
        outcomes: every variant, the excluded ones with their reason.
        budget: that they were judged by.
        choice: the rule by which a board picks one.

    Returns:
        UTF-8 HTML.
    """
    # autoescape: class names are folder names and may hold anything.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    float_score = reference.score
    changed = _changed(photos, reference, outcomes)
    page = environment.get_template(_TEMPLATE).render(
        record=record,
        # The page travels to boards: the workstation's folders are nobody's business there.
        data_name=Path(record.data).name,
        machine=machine_model(),
        calibration_photos=len(photos.calibration),
        float_score=float_score,
        outcomes=outcomes,
        budget=budget,
        rule=explain(choice),
        planes=_planes(outcomes),
        confusions=_confusions(reference, float_score, outcomes),
        changed=changed[:_MOST_CHANGED],
        changed_count=len(changed),
        most_layers=_MOST_LAYERS,
        most=max((max(row) for row in float_score.confusion), default=1),
        axis_start=_axis_start(float_score, outcomes),
    )
    return page.encode()


def _planes(outcomes: Sequence[Outcome]) -> list[Plane]:
    proved = [outcome for outcome in outcomes if outcome.proof is not None and outcome.tryout is not None]
    best = max((_accuracy(outcome) for outcome in proved), default=0.0)
    # Those that are hopeless would press all others into one line.
    shown = [outcome for outcome in proved if _accuracy(outcome) >= best - _MOST_LOST]
    return [
        draw_plane("milliseconds a picture on this machine", shown, lambda outcome: outcome.tryout.latency_ms),  # type: ignore[union-attr]
        draw_plane("megabytes of the file", shown, lambda outcome: len(outcome.model) / 1e6),
    ]


def _accuracy(outcome: Outcome) -> float:
    return outcome.proof.measured.accuracy if outcome.proof else 0.0


def _confusions(reference: Reference, float_score: Scores, outcomes: Sequence[Outcome]) -> list[_Confusion]:
    found = []
    for outcome in outcomes:
        if outcome.proof is None:
            continue
        answers = calibrate(outcome.proof.probabilities, outcome.proof.decision.temperature)
        own = score(answers, reference.labels, reference.classes)
        moved = np.array(own.confusion) - np.array(float_score.confusion)
        found.append(_Confusion(outcome.target.name, own, moved.tolist()))
    return found


def _changed(photos: ExportPhotos, reference: Reference, outcomes: Sequence[Outcome]) -> list[_Changed]:
    """Photos that a variant answers otherwise, those that most variants do first."""
    proofs = [(outcome.target.name, outcome.proof) for outcome in outcomes if outcome.proof is not None]
    exact = reference.probabilities.argmax(axis=1)
    others = {
        index: [
            (name, _answer(proof.probabilities[index], reference.classes))
            for name, proof in proofs
            if proof.probabilities[index].argmax() != exact[index]
        ]
        for index in range(len(exact))
    }
    order = sorted((index for index in others if others[index]), key=lambda index: -len(others[index]))
    return [
        _Changed(
            # Thumbnails of those that are shown alone.
            thumbnail(photos.validation[index]) if shown < _MOST_CHANGED else "",
            reference.classes[reference.labels[index]],
            _answer(reference.probabilities[index], reference.classes),
            others[index],
        )
        for shown, index in enumerate(order)
    ]


def _answer(probabilities: np.ndarray, classes: tuple[str, ...]) -> str:
    return f"{classes[int(probabilities.argmax())]} {float(probabilities.max()):.0%}"


def _axis_start(float_score: Scores, outcomes: Sequence[Outcome]) -> float:
    """The last tenth under every interval, so that bars near 100 % can be told apart."""
    lows = [outcome.proof.measured.accuracy_low for outcome in outcomes if outcome.proof]
    return float(min(0.9, math.floor(10 * min([float_score.low, *lows])) / 10))
