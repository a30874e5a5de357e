"""Where predictions go: lines of JSON and a terminal, and what happens when they cannot be written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device.errors import SinkError
from device.prediction import Event, Prediction, StageTimes
from device.sinks import SinkGone, open_sink
from device.sinks.base import Result
from device.sinks.jsonl import JsonLinesSink
from device.sinks.terminal import TerminalSink


def prediction(frame: int = 0, **changes: object) -> Prediction:
    fields: dict[str, object] = {
        "schema": 2,
        "camera": "scene:",
        "frame": frame,
        "captured_at": 1_700_000_000.25,
        "age_ms": 12.5,
        "answer": "größe",
        "probability": 0.75,
        "top": (("größe", 0.75), ('b"c', 0.25)),
        "unknown": False,
        "event": None,
        "stages_ms": StageTimes(1.0, 2.0, 3.0, 0.5),
        "dropped": 4,
        "settled": None if changes.get("unknown") else "größe",
    }
    return Prediction(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_line_is_one_json_object_with_everything(tmp_path: Path) -> None:
    sink = open_sink(f"jsonl:{tmp_path / 'events.jsonl'}")
    sink.write(Result(prediction(7, event=Event.ENTERED, truth="stop", name="a.jpg")))
    sink.close()
    (line,) = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "schema": 2,
        "camera": "scene:",
        "frame": 7,
        "captured_at": 1_700_000_000.25,
        "age_ms": 12.5,
        "answer": "größe",
        "probability": 0.75,
        "top": [["größe", 0.75], ['b"c', 0.25]],
        "unknown": False,
        "event": "entered",
        "stages_ms": {"decode": 1.0, "preprocess": 2.0, "infer": 3.0, "decide": 0.5},
        "dropped": 4,
        "region": "",
        "settled": "größe",
        "previous": None,
        "name": "a.jpg",
        "truth": "stop",
    }


def test_an_unknown_answer_is_null(tmp_path: Path) -> None:
    sink = open_sink(f"jsonl:{tmp_path / 'events.jsonl'}")
    sink.write(Result(prediction(answer=None, unknown=True)))
    sink.close()
    line = json.loads((tmp_path / "events.jsonl").read_text(encoding="utf-8"))
    assert (line["answer"], line["unknown"], line["top"][0][0]) == (None, True, "größe")


def test_a_second_run_appends_to_the_file_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for frame in (1, 2):
        sink = open_sink(f"jsonl:{path}")
        sink.write(Result(prediction(frame)))
        sink.close()
    assert [json.loads(line)["frame"] for line in path.read_text(encoding="utf-8").splitlines()] == [1, 2]


@pytest.mark.parametrize("torn", [b'{"frame": 1', b"\0" * 300])
def test_what_a_power_cut_left_of_a_line_spoils_no_other(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"frame": 0}\n' + torn)
    sink = open_sink(f"jsonl:{path}")
    sink.write(Result(prediction(2)))
    sink.close()
    first, rest, last = path.read_bytes().splitlines()
    assert (first, rest, json.loads(last)["frame"]) == (b'{"frame": 0}', torn, 2)


def test_a_line_can_be_read_before_the_sink_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = open_sink(f"jsonl:{path}")
    sink.write(Result(prediction(3)))
    assert json.loads(path.read_text(encoding="utf-8"))["frame"] == 3
    sink.close()


def test_a_full_disk_is_a_sink_error_with_the_way_out() -> None:
    sink = open_sink("jsonl:/dev/full")
    with pytest.raises(SinkError, match="/dev/full: No space left on device; free some space or name another place"):
        sink.write(Result(prediction()))
    sink.close()


@pytest.mark.parametrize("target", ["no/such/folder/events.jsonl", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, target: str) -> None:
    path = tmp_path / target
    with pytest.raises(SinkError, match="name a file in a folder that exists and can be written") as caught:
        open_sink(f"jsonl:{path}")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("uri", ["events.jsonl", "ftp://host/topic", "jsonl", "", "file:///etc/passwd"])
def test_a_sink_that_is_not_understood_is_told_what_is(uri: str) -> None:
    with pytest.raises(SinkError, match="is not understood; expected jsonl:- or jsonl:FILE") as caught:
        open_sink(uri)
    assert f"'{uri}'" in str(caught.value)


def test_jsonl_without_a_target_is_told_to_name_one() -> None:
    with pytest.raises(SinkError, match="jsonl: has no target"):
        open_sink("jsonl:")


def test_a_reader_that_has_left_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = JsonLinesSink(os.fdopen(writing, "wb"), "a pipe")
    with pytest.raises(SinkGone):
        sink.write(Result(prediction()))
    sink.close()


def test_standard_output_stays_open_behind_the_sink() -> None:
    program = """
import sys
from device.sinks import open_sink
open_sink("jsonl:-").close()
print("still here")
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert child.stdout == "still here\n"


@pytest.fixture
def terminal_lines(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Prediction]], list[str]]:
    def show(predictions: list[Prediction]) -> list[str]:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stdout", stream)
        sink = TerminalSink()
        for each in predictions:
            sink.write(Result(each))
        sink.close()
        return stream.getvalue().splitlines()

    return show


def test_a_person_sees_a_line_for_every_change_and_none_between(
    terminal_lines: Callable[[list[Prediction]], list[str]],
) -> None:
    lines = terminal_lines([prediction(0, event=Event.CHANGED), prediction(1), prediction(2, event=Event.CHANGED)])
    assert len(lines) == 2
    assert "frame      0" in lines[0]
    assert "[###############.....]  75%  größe  12 ms" in lines[0]


def test_a_person_sees_what_an_unknown_thing_was_taken_for(
    terminal_lines: Callable[[list[Prediction]], list[str]],
) -> None:
    (line,) = terminal_lines([prediction(0, event=Event.CHANGED, answer=None, unknown=True)])
    assert "unknown (größe?)" in line


def test_of_a_folder_every_photo_has_a_line_with_its_name(
    terminal_lines: Callable[[list[Prediction]], list[str]],
) -> None:
    lines = terminal_lines(
        [prediction(0, camera="photos/", name="a.jpg"), prediction(1, camera="photos/", name="b.jpg")]
    )
    assert [line.split()[0] for line in lines] == ["a.jpg", "b.jpg"]
