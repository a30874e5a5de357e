"""The report page: one HTML file that needs nothing else, written into the Run and the Bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from export.parity import Outcome
from pipeline.metrics import Scores
from pipeline.run import RunRecord

_TEMPLATE = "report.html"


def render_report(record: RunRecord, float_score: Scores, outcomes: Sequence[Outcome], max_drop_points: float) -> bytes:
    """Fill the page.

    Args:
        record: of the run; names in it come from folders and are escaped.
        float_score: of the float model on validation.
        outcomes: every variant, the excluded ones with their reason.
        max_drop_points: the budget that they were judged by.

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
    most = max((max(row) for row in float_score.confusion), default=1)
    page = environment.get_template(_TEMPLATE).render(
        record=record,
        # The page travels to boards: the workstation's folders are nobody's business there.
        data_name=Path(record.data).name,
        float_score=float_score,
        outcomes=outcomes,
        max_drop_points=max_drop_points,
        most=most,
        axis_start=_axis_start(float_score, outcomes),
    )
    return page.encode()


def _axis_start(float_score: Scores, outcomes: Sequence[Outcome]) -> float:
    """The last tenth under every interval, so that bars near 100 % can be told apart."""
    lows = [outcome.measured.accuracy_low for outcome in outcomes if outcome.measured]
    return min(0.9, math.floor(10 * min([float_score.low, *lows])) / 10)
