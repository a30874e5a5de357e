"""Fills the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.explain import overlay
from pipeline.looks import looks_text
from pipeline.metrics import Scores, wilson_interval
from pipeline.report import charts
from pipeline.report.examples import thumbnail
from pipeline.report.inputs import Absent, Example, ReportInputs
from pipeline.run import RunRecord

_TEMPLATE = "report.html"
# A matrix of more is no picture any more; the pairs that are confused most say what it would.
_MOST_MATRIX_CLASSES = 80
_MOST_PAIRS = 12
# A column per class has room for its name written across up to so many.
_MOST_LEVEL_NAMES = 8


@dataclass(frozen=True, slots=True)
class _ClassRow:
    name: str
    photos: int
    n: int
    recall: float
    low: float
    high: float
    precision: float
    f1: float


@dataclass(frozen=True, slots=True)
class _Pair:
    truth: str
    answer: str
    count: int
    of: int


def render_report(inputs: ReportInputs) -> bytes:
    """Fill the page.

    Args:
        inputs: names in it come from folders and are escaped; of paths only the last part is shown.

    Returns:
        UTF-8 HTML that loads nothing.
    """
    # autoescape: class names are folder names and may hold anything.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, photo=thumbnail, heat=_heat)
    environment.tests["absent"] = lambda part: isinstance(part, Absent)
    record = inputs.record
    page = environment.get_template(_TEMPLATE).render(
        inputs=inputs,
        record=record,
        test=inputs.test,
        data_name=_name(record.data) or "photos",
        weights_name=_name(record.weights),
        looks_text=looks_text(inputs.looks),
        loss=charts.loss_chart(inputs.history),
        accuracy=charts.accuracy_chart(inputs.history),
        chart=charts,
        matrix=_matrix(inputs.test) if len(record.classes) <= _MOST_MATRIX_CLASSES else None,
        level_names=len(record.classes) <= _MOST_LEVEL_NAMES,
        pairs=_pairs(inputs.test, record.classes),
        class_rows=_class_rows(inputs),
        settings=_settings(record),
    )
    return page.encode("utf-8", "backslashreplace")


def _percent(share: float, digits: int = 1) -> str:
    # A line must not end between a figure and its sign.
    return f"{100 * share:.{digits}f}\u00a0%"


def _heat(example: Example) -> str:
    assert example.heat is not None
    return thumbnail(overlay(example.pixels, example.heat))


def _name(path: str) -> str:
    """The page travels: of the workstation's folders it shows the last name only."""
    return Path(path).name if path.strip(".") else ""


def _settings(record: RunRecord) -> dict[str, list[tuple[str, str]]]:
    """By the part of the name before the last dot; those without come first, under an empty name."""
    groups: dict[str, list[tuple[str, str]]] = {"": [("budget", record.budget)]}
    if record.teacher:
        groups[""].append(("teacher", _name(record.teacher)))
    head = {f"classifier.{name}": value for name, value in msgspec.structs.asdict(record.head).items()}
    for key, value in {**head, **record.hyperparameters}.items():
        group, _, name = key.rpartition(".")
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        if isinstance(value, bool):
            shown = "yes" if value else "no"
        elif isinstance(value, str) and Path(value).is_absolute():
            shown = _name(value)
        groups.setdefault(group, []).append((name, shown))
    return groups


def _class_rows(inputs: ReportInputs) -> list[_ClassRow]:
    rows = []
    for label, (name, one) in enumerate(inputs.test.per_class.items()):
        low, high = wilson_interval(inputs.test.confusion[label][label], one.n) if one.n else (0.0, 1.0)
        photos = inputs.record.photos_per_class.get(name, 0)
        rows.append(_ClassRow(name, photos, one.n, one.recall, low, high, one.precision, one.f1))
    return rows


def _matrix(scores: Scores) -> list[list[tuple[int, int]]]:
    """(count, shade in %) by truth and answer; shades are shares of a class, so that small classes show too."""
    rows = []
    for row in scores.confusion:
        total = max(1, sum(row))
        rows.append([(count, round(14 + 66 * count / total) if count else 0) for count in row])
    return rows


def _pairs(scores: Scores, classes: tuple[str, ...]) -> list[_Pair]:
    """What is taken for what most often; of equals the one that is the greater share of its class."""
    pairs = [
        _Pair(classes[truth], classes[answer], count, sum(row))
        for truth, row in enumerate(scores.confusion)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, pair.of))[:_MOST_PAIRS]
