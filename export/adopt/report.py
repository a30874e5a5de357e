"""The report page of an adopted model: one HTML file that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from export.adopt.config import Adopted
from pipeline.metrics import Scores

_TEMPLATE = "report.html"
_MOST_CLASSES = 30
_MOST_PAIRS = 30


@dataclass(frozen=True, slots=True)
class _Worst:
    name: str
    recall: float
    n: int


@dataclass(frozen=True, slots=True)
class _Pair:
    truth: str
    answer: str
    count: int


def render_adopted(adopted: Adopted) -> bytes:
    """Fill the page.

    Args:
        adopted: names in it come from files and are escaped.

    Returns:
        UTF-8 HTML that loads nothing.
    """
    # autoescape: class names come from a file and may hold anything.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}\u00a0%"
    page = environment.get_template(_TEMPLATE).render(
        adopted=adopted,
        spec=adopted.spec,
        decision=adopted.decision,
        classes=adopted.classes,
        worst=_worst(adopted.scores),
        pairs=_pairs(adopted.scores, adopted.classes),
        most_left_out=_MOST_PAIRS,
    )
    return page.encode("utf-8", "backslashreplace")


def _worst(scores: Scores) -> list[_Worst]:
    """Classes of which photos were missed, the worst first."""
    found = [_Worst(name, one.recall, one.n) for name, one in scores.per_class.items() if one.n and one.recall < 1]
    return sorted(found, key=lambda one: (one.recall, -one.n))[:_MOST_CLASSES]


def _pairs(scores: Scores, classes: tuple[str, ...]) -> list[_Pair]:
    pairs = [
        _Pair(classes[truth], classes[answer], count)
        for truth, row in enumerate(scores.confusion)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return sorted(pairs, key=lambda pair: -pair.count)[:_MOST_PAIRS]
