"""Clips: what came before an event and after it, at its own pace, playable, within bounds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sink_inputs import NOON, picture, prediction, result, status

from device.errors import SinkError
from device.prediction import Event
from device.sinks import open_sink
from device.sinks.annotate import annotate, shrunk
from device.sinks.base import Result, Want
from device.sinks.clips import ClipSink, open_clips

FPS = 10


def feed(sink: ClipSink, first: int, last: int, events: dict[int, Event] | None = None, fps: float = FPS) -> None:
    """Frames ``first`` to ``last``, of which number n is of the second n / fps."""
    for index in range(first, last):
        each = prediction(index, NOON + index / fps, event=(events or {}).get(index), previous="tulip")
        want = sink.wants(each)
        if want is not Want.NOTHING:
            sink.write(result(each, seed=index // 5) if want is Want.FRAME else Result(each))


def clips(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def frames_of(path: Path) -> list[NDArray[np.uint8]]:
    film, frames = cv2.VideoCapture(str(path)), []
    while True:
        more, pixels = film.read()
        if not more:
            return frames
        frames.append(pixels)


@pytest.mark.parametrize(("kind", "starts"), [("mp4", b"ftyp"), ("webm", b"\x1aE\xdf\xa3")])
def test_a_clip_has_what_came_before_and_after(kind: str, starts: bytes, tmp_path: Path) -> None:
    sink = open_sink(f"clips:{tmp_path}?before=2&after=1&fps={FPS}&format={kind}")
    feed(sink, 0, 60, {40: Event.ENTERED})
    sink.close()
    (path,) = clips(tmp_path)
    assert path.name.startswith("20231114T221324.000Z-entered-") and path.suffix == f".{kind}"
    assert starts in path.read_bytes()[:16]
    frames = frames_of(path)
    assert len(frames) == 31
    assert abs(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) - FPS) < 0.01
    for number in (0, 20, 30):
        middle = np.abs(frames[number][30:90].astype(int) - picture((20 + number) // 5)[30:90])
        assert middle.mean() < 25, number


def test_the_film_keeps_the_pace_of_a_camera_that_is_slower(tmp_path: Path) -> None:
    sink = open_clips(f"clips:{tmp_path}?before=1&after=1&fps=10")
    feed(sink, 0, 20, {8: Event.ENTERED}, fps=4)
    (path,) = clips(tmp_path)
    assert abs(len(frames_of(path)) - 21) <= 2


def test_of_a_camera_that_is_faster_no_more_than_asked_for_is_taken(tmp_path: Path) -> None:
    sink = open_clips(f"clips:{tmp_path}?fps=10")
    wanted = sum(sink.wants(prediction(index, NOON + index / 60)) is Want.FRAME for index in range(600))
    assert 95 <= wanted <= 125


def test_events_that_follow_one_another_make_one_clip_up_to_the_longest(tmp_path: Path) -> None:
    sink = open_clips(f"clips:{tmp_path}?before=1&after=2&on=entered,left")
    feed(sink, 0, 100, {20: Event.ENTERED, 35: Event.LEFT, 50: Event.CHANGED})
    (path,) = clips(tmp_path)
    assert abs(len(frames_of(path)) - 46) <= 1  # from 1 s to 5.5 s
    bounded = tmp_path / "bounded"
    sink = open_clips(f"clips:{bounded}?before=1&after=2&longest=4")
    feed(sink, 0, 200, dict.fromkeys(range(20, 160, 10), Event.CHANGED))
    lengths = [len(frames_of(path)) for path in clips(bounded)]
    assert len(lengths) >= 3 and max(lengths) <= 42


def test_only_the_class_that_was_asked_for(tmp_path: Path) -> None:
    sink = open_clips(f"clips:{tmp_path}?class=tulip&on=entered,changed,left&after=0")
    feed(sink, 0, 30, {10: Event.ENTERED, 20: Event.LEFT})  # rose entered; tulip left
    sink.close()
    assert [path.name.split("-")[1] for path in clips(tmp_path)] == ["left"]


def test_nothing_is_seen_of_a_clip_until_it_is_whole_and_a_silent_camera_ends_it(tmp_path: Path) -> None:
    sink = open_clips(f"clips:{tmp_path}?after=3")
    feed(sink, 0, 12, {10: Event.ENTERED})
    assert clips(tmp_path) == [] and len(list(tmp_path.iterdir())) == 1
    sink.report(status(at=NOON + 3))
    assert clips(tmp_path) == []
    sink.report(status(at=NOON + 4.5))
    assert len(clips(tmp_path)) == len(list(tmp_path.iterdir())) == 1


def test_two_cameras_have_a_clip_each_and_regions_share_one(tmp_path: Path) -> None:
    sink = open_clips(f"clips:{tmp_path}?before=1&after=1")
    for index in range(40):
        for camera, region in (("a", "left"), ("a", "right"), ("b", "")):
            event = Event.ENTERED if index == 15 and region != "right" else None
            each = prediction(index, NOON + index / FPS, camera=camera, region=region, event=event)
            want = sink.wants(each)
            if want is not Want.NOTHING:
                sink.write(result(each) if want is Want.FRAME else Result(each))
    assert [len(frames_of(path)) for path in clips(tmp_path)] == [21, 21]


def test_another_resolution_in_the_middle_does_not_end_the_clip(tmp_path: Path) -> None:
    sink = open_clips(f"clips:{tmp_path}?before=1&after=2")
    feed(sink, 0, 12, {10: Event.ENTERED})
    for index in range(12, 40):
        each = prediction(index, NOON + index / FPS)
        of = result(each)
        assert of.frame is not None
        object.__setattr__(of.frame, "pixels", picture(index, 61, 99 // 8 * 8))
        sink.write(of)
    (path,) = clips(tmp_path)
    assert {frame.shape for frame in frames_of(path)} == {(120, 160, 3)}


def test_the_folder_stays_within_its_size_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "wedding.mp4").write_bytes(b"x" * 2_000_000)
    (tmp_path / ".20231114T221324.000Z-entered-abcdef.part.mp4").write_bytes(b"left by a power cut")
    sink = open_clips(f"clips:{tmp_path}?most_mb=1&before=0&after=1&width=640")
    noise = np.random.default_rng(2)
    for index in range(400):
        each = prediction(index, NOON + index / FPS, event=Event.CHANGED if index % 20 == 0 else None)
        of = result(each)
        assert of.frame is not None
        object.__setattr__(of.frame, "pixels", noise.integers(0, 256, (120, 160, 3), np.uint8))
        sink.write(of)
        ours = sum(path.stat().st_size for path in tmp_path.iterdir() if path.name != "wedding.mp4")
        assert ours <= 1_100_000, index  # one frame more is on its way when the size is looked at
    sink.close()
    found = clips(tmp_path)
    assert found[-1].name == "wedding.mp4" and len(found) >= 3
    assert all(len(frames_of(path)) >= 10 for path in found[:-1])


def test_the_answer_is_painted_in_and_the_frame_is_left_as_it_was() -> None:
    original = picture(1, 480, 640)
    original.flags.writeable = False
    copy = shrunk(original, 640)
    unknown = prediction(unknown=True, answer=None, probability=0.25, region="größe")
    annotate(copy, [prediction(), unknown])
    line = 480 // 18
    assert not np.array_equal(copy[:line], original[:line])
    assert np.array_equal(copy[3 * line : -2 * line], original[3 * line : -2 * line])
    bar = copy[line // 2, -640 // 4 + 5 : -line]
    amber = copy[line + line // 2, -640 // 4 + 5 : -line]
    assert (bar[:100] == (90, 200, 90)).all() and not (amber == (60, 170, 250)).all()
    assert shrunk(picture(1, 1080, 1920), 641).shape == (360, 640, 3)
    annotate(shrunk(np.zeros((1, 1, 3), np.uint8), 640), [prediction(), unknown])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("fps=0", "'fps' is '0'"),
        ("on=entered,gone", "expected some of entered,left,changed"),
        ("format=avi", "expected one of mp4, webm"),
        ("before=31", "a number from 0 to 30"),
    ],
)
def test_what_is_not_understood_is_said(options: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=says):
        open_clips(f"clips:{tmp_path}?{options}")
