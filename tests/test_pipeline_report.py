"""The training report: what it says, what it does not tell, and that it stands alone."""

from __future__ import annotations

import getpass
import platform
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from device.contract import Decision, PreprocessSpec, SplitRule
from pipeline.calibrate import measure_unknown
from pipeline.metrics import score
from pipeline.report import (
    Absent,
    EpochPoint,
    ReportInputs,
    choose_examples,
    describe_environment,
    render_report,
)
from pipeline.report.charts import accuracy_chart, loss_chart, nice_ticks, reliability_bars
from pipeline.robustness import robustness_table
from pipeline.run import HeadRecord, PhotoCounts, RunRecord, StageRecord
from pipeline.run import TestScore as ScoreOnTest

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """A page's tags, its text and the addresses it loads; a tag closed out of turn raises."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(data.decode())
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += " "
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.text += " "
        # rows and cells are all closed in the template, so that nothing is left to a browser's guess
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data.replace("\xa0", " ")

    def words(self) -> str:
        return " ".join(self.text.split())


def _record(classes: tuple[str, ...], **changes: object) -> RunRecord:
    known = RunRecord(
        schema=1,
        edgegraft_version="0.1.0",
        created="2026-11-23T12:00:00+00:00",
        data="/home/maker/secret/flowers",
        backbone="mobilenetv2-0.35",
        weights="imagenet",
        head=HeadRecord(hidden=64, batch_norm=False, dropout=0.25, label_smoothing=0.1),
        budget="balanced",
        teacher=None,
        seed=3,
        classes=classes,
        preprocess=PreprocessSpec(height=32, width=32),
        split=SplitRule(ready_made=False, seed=3, validation=0.15, test=0.15),
        photos=PhotoCounts(train=70, validation=15, test=60),
        photos_per_class=dict.fromkeys(classes, 50),
        left_out={},
        hyperparameters={"head.epochs": 40, "head.mixup": True, "views": 3},
        stages=(
            StageRecord(name="head", seconds=1.5, photos_per_second=100.0, epochs=9, validation_accuracy=0.9),
            StageRecord(
                name="fine-tune", seconds=9.0, photos_per_second=10.0, epochs=2, learning_rate=3e-4, kept=False
            ),
        ),
        seconds=12.5,
        peak_rss_mb=1234.4,
        decision=Decision(temperature=1.5, unknown_threshold=0.4),
        validation_accuracy=0.9,
        test=ScoreOnTest(accuracy=0.8, low=0.6, high=0.9, n=60, macro_f1=0.8, expected_calibration_error=0.1),
    )
    return msgspec.structs.replace(known, **changes)


def _answers(classes: int, n: int = 60) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    labels = np.arange(n) % classes
    probabilities = random.dirichlet([0.3] * classes, n) + 0.8 * np.eye(classes)[labels]
    return (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32), labels


def _bare(classes: tuple[str, ...] = ("daisy", "rose"), **changes: object) -> ReportInputs:
    """Without any of the optional parts."""
    probabilities, labels = _answers(len(classes))
    scores, record = score(probabilities, labels, classes), _record(classes, **changes)
    unknown = measure_unknown(probabilities, labels, record.decision)
    return ReportInputs(record=record, test=scores, test_uncalibrated=scores, unknown=unknown, looks=1)


def _full(classes: tuple[str, ...] = ("daisy", "rose", "tulip")) -> ReportInputs:
    probabilities, labels = _answers(len(classes))
    pixels = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    files = [f"{classes[label]}/{index}.jpg" for index, label in enumerate(labels)]
    examples = choose_examples(
        pixels, probabilities, labels, classes, files, lambda chosen, wanted: np.ones((len(chosen), 32, 32), np.float32)
    )
    history = [EpochPoint("head", epoch, 2 / epoch, 0.5, 1.9 / epoch, 0.6) for epoch in range(1, 10)]
    table = robustness_table(lambda photos: _answers(len(classes), len(photos))[0], pixels, labels)
    return replace(
        _bare(classes),
        history=(*history, EpochPoint("fine-tune", 1, 0.4, None, 0.3, 0.7)),
        examples=examples,
        robustness=table,
        environment=describe_environment(),
    )


@pytest.mark.parametrize("inputs", [_bare(), _full()], ids=["bare", "full"])
def test_the_page_stands_alone_and_is_well_formed(inputs: ReportInputs) -> None:
    data = render_report(inputs)
    page = Page(data)
    assert data.startswith(b"<!doctype html>")
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.loaded)
    assert not re.search(rb"https?:|url\(|@import", data)
    assert not re.search(r"\b(None|nan|inf)\b", page.words())


def test_the_headline_is_the_test_split() -> None:
    inputs = _full()
    words = Page(render_report(inputs)).words()
    test = inputs.test
    assert f"accuracy on test {100 * test.accuracy:.1f} % {100 * test.low:.1f} % to {100 * test.high:.1f} %" in words
    assert 0.5 < test.accuracy < 1
    assert f"macro F1 on test {test.macro_f1:.3f}" in words
    assert "70 train, 15 validation, 60 test" in words
    assert "Test split looked at once" in words
    assert "took part in no choice" in words


def test_looking_again_takes_the_claim_back() -> None:
    words = Page(render_report(replace(_bare(), looks=3))).words()
    assert "Test split looked at 3 times; choose on validation" in words
    assert "took part in no choice" not in words


def test_names_are_data_and_never_markup() -> None:
    classes = (HOSTILE, '"><img src=x onerror=alert(1)>')
    inputs = _full(classes)
    record = _record(
        classes, left_out={HOSTILE: HOSTILE}, hyperparameters={HOSTILE: HOSTILE}, data=f"photos/{HOSTILE[1:8]}&"
    )
    page = Page(render_report(replace(inputs, record=record)))
    assert "script" not in page.tags
    assert all(address.startswith("data:image/jpeg") for address in page.loaded)
    assert HOSTILE in page.text


def test_of_paths_only_the_last_name_is_told() -> None:
    settings = {"logs.tensorboard": "/home/maker/logs"}
    record = _record(("a", "b"), weights="/home/maker/w/mine.h5", teacher="../secret/big", hyperparameters=settings)
    data = render_report(replace(_bare(("a", "b")), record=record))
    assert b"maker" not in data and b"secret" not in data
    words = Page(data).words()
    assert "photos of flowers in" in words
    assert "Weights at the start: mine.h5" in words
    assert "teacher big" in words and "tensorboard logs" in words


@pytest.mark.parametrize("data", [".", "..", "/"])
def test_a_data_folder_without_a_name_is_photos(data: str) -> None:
    assert "70 photos of photos in" in Page(render_report(_bare(("a", "b"), data=data))).words()


def test_what_was_not_measured_says_why() -> None:
    absent = Absent("the budget fast leaves it out")
    words = Page(render_report(replace(_bare(), robustness=absent, examples=absent))).words()
    assert "When photos get worse Not shown: the budget fast leaves it out." in words
    assert "Photos worth a look Not shown: the budget fast leaves it out." in words
    assert "photos of no class called unknown none to count" in words
    assert "in a folder named _unknown beside them" in words


def test_the_rest_of_the_full_page() -> None:
    inputs = _full()
    page = Page(render_report(inputs))
    words = page.words()
    for part in (
        "1234 MB of memory",
        "budget balanced",
        "classifier hidden 64",
        "mixup yes",
        "fine-tune 9.0 10 2 0.0003 no",
        "Python 3.",
    ):
        assert part in words
    assert not isinstance(inputs.examples, Absent)
    assert len(page.loaded) == 2 * (len(inputs.examples.mistakes) + len(inputs.examples.uncertain))


def test_few_classes_get_a_matrix_with_names_many_also_their_pairs_and_very_many_the_pairs_only() -> None:
    for count, matrix, pairs in ((2, True, False), (40, True, True), (120, False, True)):
        classes = tuple(f"c{index}" for index in range(count))
        inputs = _bare(classes)
        probabilities = np.roll(np.eye(count, dtype=np.float32), 1, axis=1)
        labels = np.arange(count)
        inputs = replace(inputs, test=score(probabilities, labels, classes))
        data = render_report(inputs)
        assert (b'class="names confusion' in data) is matrix
        assert ("Most often confused" in Page(data).text) is pairs
        assert len(data) < 400_000


def test_the_worst_mistakes_and_the_least_certain_photos_are_chosen() -> None:
    probabilities = np.array([[0.9, 0.1], [0.55, 0.45], [0.3, 0.7], [0.99, 0.01], [0.48, 0.52], [0.2, 0.8]], np.float32)
    labels = np.array([1, 0, 0, 0, 0, 1])
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    asked: list[tuple[list[int], list[int]]] = []

    def heat(chosen: NDArray[np.uint8], wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        asked.append((chosen[:, 0, 0, 0].tolist(), wanted.tolist()))
        return np.zeros(chosen.shape[:3], np.float32)

    examples = choose_examples(pixels, probabilities, labels, ("no", "yes"), [f"{i}\udcff" for i in range(6)], heat, 2)
    assert [(one.file, one.truth, one.answer) for one in examples.mistakes] == [
        ("0\\xff", "yes", "no"), ("2\\xff", "no", "yes")
    ]  # fmt: skip
    assert [one.file[0] for one in examples.uncertain] == ["4", "1"]
    # the answer is explained, not the truth
    assert asked == [([0, 2, 4, 1], [0, 1, 1, 0])]
    assert examples.mistakes[0].probability == pytest.approx(0.9)


def test_a_network_without_places_gives_photos_without_heat() -> None:
    pixels, probabilities = np.zeros((2, 8, 8, 3), np.uint8), np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    examples = choose_examples(pixels, probabilities, np.array([1, 1]), ("a", "b"), ["x", "y"], lambda *_: None)
    assert [one.heat for one in (*examples.mistakes, *examples.uncertain)] == [None, None]


def test_without_mistakes_the_page_says_so() -> None:
    pixels, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    probabilities = np.eye(2, dtype=np.float32)[labels]
    examples = choose_examples(pixels, probabilities, labels, ("a", "b"), list("wxyz"))
    assert examples.mistakes == ()
    words = Page(render_report(replace(_bare(("a", "b")), examples=examples))).words()
    assert "No test photo was answered wrongly." in words
    assert "Grad-CAM" not in words


def test_a_loss_that_was_no_number_leaves_a_gap_and_one_far_off_does_not_flatten_the_rest() -> None:
    losses = [float("nan"), *[1.0] * 30, 500.0, float("inf")]
    chart = loss_chart([EpochPoint("head", index + 1, loss) for index, loss in enumerate(losses)])
    assert chart is not None
    assert float(chart.y_ticks[-1].text) <= 5
    [line] = chart.lines
    points = [tuple(map(float, point.split(","))) for point in line.points.split()]
    assert len(points) == 31
    top, bottom = chart.y_ticks[-1].at, chart.y_ticks[0].at
    assert all(top - 0.1 <= y <= bottom + 0.1 for _, y in points)


def test_curves_are_drawn_by_stage_and_left_to_right() -> None:
    history = [EpochPoint("head", 1, validation_accuracy=0.5), EpochPoint("tune", 1, validation_accuracy=0.75)]
    assert loss_chart(history) is None
    chart = accuracy_chart(history)
    assert chart is not None
    assert [(line.series, span.name) for line, span in zip(chart.lines, chart.stages, strict=True)] == [
        ("validation", "head"), ("validation", "tune")
    ]  # fmt: skip
    first, second = (line.last for line in chart.lines)
    assert first[0] < chart.stages[1].start < second[0]
    assert first[1] > second[1]
    assert chart.y_ticks[-1].text == "100 %"
    assert accuracy_chart([]) is None
    assert accuracy_chart([EpochPoint("head", 1, validation_accuracy=1.0)]) is not None


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.5, 1]), (0, 2.3, [0, 1, 2, 3]), (0.63, 1, [0.6, 0.7, 0.8, 0.9, 1]), (0, 0.004, None), (0.9, 1, None)],
)
def test_ticks_are_round_and_span_the_values(low: float, high: float, ticks: list[float] | None) -> None:
    found = nice_ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 6
    assert ticks is None or found == pytest.approx(ticks)


def test_reliability_bars_stand_where_the_bins_are() -> None:
    probabilities, labels = _answers(3)
    bins = score(probabilities, labels, ("a", "b", "c")).reliability
    bars = reliability_bars(bins)
    assert [bar.count for bar in bars] == [one.count for one in bins]
    # a bar as high as its dot is calibrated
    for bar, one in zip(bars, bins, strict=True):
        assert bar.x <= bar.mark_x <= bar.x + bar.width
        assert np.sign(round(bar.mark_y - bar.y, 6)) == np.sign(round(one.accuracy - one.confidence, 8))


def test_the_environment_names_versions_and_no_host_or_user() -> None:
    found = describe_environment()
    assert {"edgegraft", "Python", "processor", "memory", "numpy"} <= set(found)
    assert found["numpy"] == np.__version__
    everything = " ".join(found.values())
    assert platform.node() not in everything
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", everything)


def test_a_report_and_its_figures_need_no_tensorflow() -> None:
    modules = "pipeline.report, pipeline.robustness, pipeline.explain, pipeline.looks, pipeline.commands.evaluate, sys"
    program = f"import {modules}; sys.exit('tensorflow' in sys.modules or 'tf_keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
