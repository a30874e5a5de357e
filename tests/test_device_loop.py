"""The loop between a camera and its sinks: which frames are seen, which are dropped, and how everything ends."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundles import CLASSES, SIDE, colour_manifest, plain_picture

from device.cameras.base import Frame
from device.cameras.fake import FakeCamera
from device.cameras.spec import CameraSpec, Region
from device.classifier import Classifier, open_classifier
from device.contract import Manifest
from device.engines.fake import FakeEngine
from device.errors import CameraError, EngineError, SinkError
from device.loop import LoopStats
from device.prediction import Event, Prediction
from device.preprocess import Pixels
from device.runtime import run_cameras
from device.sinks.base import Result, SinkGone, Want
from device.sinks.fake import ListSink

# A test that fails must end, not hang: no event here takes longer than this on any machine.
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def manifest(colour_models: dict[str, bytes]) -> Manifest:
    return colour_manifest({"onnx-float32": colour_models["onnx-float32"]})[0]


@pytest.fixture(params=[1, 3], ids=["one model", "copies for files"])
def classifier(colour_bundle: Path, request: pytest.FixtureRequest) -> Iterator[Classifier]:
    with open_classifier(colour_bundle, threads=request.param) as opened:
        yield opened


def fake_classifier(manifest: Manifest, before_answer: object = None) -> Classifier:
    """Answers from the mean of each channel; ``before_answer`` is called first."""

    def answer(pixels: Pixels) -> np.ndarray:
        if callable(before_answer):
            before_answer()
        means = pixels.reshape(-1, 3).mean(axis=0) + 1
        return (means / means.sum()).astype(np.float32)

    return Classifier(manifest, manifest.variants[0], FakeEngine(3, (SIDE, SIDE), answer))


def spec(camera: FakeCamera, name: str = "x", regions: tuple[Region, ...] = ()) -> CameraSpec:
    return CameraSpec(name, camera.live, lambda: camera, regions)


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "camera"]


class SlowCamera(FakeCamera):
    """Waits before each frame until it is allowed to go on."""

    def __init__(self, pictures: list[Pixels], live: bool) -> None:
        super().__init__(pictures, live)
        self.allowed = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)

    def read(self) -> Frame | None:
        self.asked.release()
        assert self.allowed.acquire(timeout=PATIENCE_S)
        return super().read()


class BrokenCamera(FakeCamera):
    """Fails as a camera does whose cable is pulled, after its pictures have come."""

    def read(self) -> Frame | None:
        frame = super().read()
        if frame is None:
            raise CameraError("/dev/video7: stopped delivering frames; check the cable and the power supply")
        return frame


def test_every_frame_of_a_file_is_answered_in_order(classifier: Classifier) -> None:
    colours = ["red", "red", "green", "blue", "grey", "grey", "red"] * 5
    sink = ListSink()
    camera = FakeCamera([plain_picture(colour) for colour in colours])
    stats = run_cameras(classifier, [spec(camera, "film.mp4")], [sink])
    assert [prediction.frame for prediction in sink.received] == list(range(35))
    assert [prediction.answer or "grey" for prediction in sink.received] == colours
    assert (stats.frames, stats.dropped, stats.unknown) == (35, 0, 10)
    assert stats.answers == {"red": 15, "green": 5, "blue": 5, "(unknown)": 10}
    assert {prediction.camera for prediction in sink.received} == {"film.mp4"}


def answered(classifier: Classifier, colours: list[str]) -> list[Prediction]:
    sink = ListSink()
    run_cameras(classifier, [spec(FakeCamera(map(plain_picture, colours)))], [sink])
    return sink.received


def test_of_a_file_every_change_of_the_answer_is_an_event(classifier: Classifier) -> None:
    found = answered(classifier, ["red", "red", "green", "grey", "grey", "green"])
    assert [prediction.event for prediction in found] == [
        Event.ENTERED,
        None,
        Event.CHANGED,
        Event.LEFT,
        None,
        Event.ENTERED,
    ]
    assert [prediction.previous for prediction in found] == [None, None, "red", "green", None, None]
    assert [prediction.settled for prediction in found] == ["red", "red", "green", None, None, "green"]
    assert [prediction.unknown for prediction in found] == [False, False, False, True, True, False]


def test_every_sink_gets_every_prediction(classifier: Classifier) -> None:
    sinks = [ListSink(), ListSink()]
    run_cameras(classifier, [spec(FakeCamera([plain_picture("red")] * 3))], sinks)
    assert len(sinks[0].received) == 3
    assert sinks[0].received == sinks[1].received


def test_of_a_live_camera_the_newest_frame_is_answered_and_the_others_are_counted(manifest: Manifest) -> None:
    camera = SlowCamera([plain_picture(colour) for colour in ("red", "green", "green", "green", "blue")], live=True)
    in_model, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def before_answer() -> None:
        in_model.release()
        assert go_on.acquire(timeout=PATIENCE_S)

    sink = ListSink()
    loop = threading.Thread(
        target=run_cameras, args=(fake_classifier(manifest, before_answer), [spec(camera)], [sink]), daemon=True
    )
    loop.start()
    camera.allowed.release()
    assert in_model.acquire(timeout=PATIENCE_S)  # the model is busy with frame 0
    camera.allowed.release(4)
    for _ in range(6):  # it is asked for a sixth: frames 1 to 4 lie, or have lain, in the queue
        assert camera.asked.acquire(timeout=PATIENCE_S)
    go_on.release()
    assert in_model.acquire(timeout=PATIENCE_S)
    camera.allowed.release()
    go_on.release()
    loop.join(PATIENCE_S)
    assert [(prediction.frame, prediction.answer, prediction.dropped) for prediction in sink.received] == [
        (0, "red", 0),
        (4, "blue", 3),
    ]


def test_a_file_waits_for_a_slow_model_instead_of_filling_the_memory(manifest: Manifest) -> None:
    taken = 0
    ahead = []

    def pictures() -> Iterator[Pixels]:
        nonlocal taken
        for taken in range(1, 101):  # noqa: B007 - counted for the other thread
            yield plain_picture("red")

    def before_answer() -> None:
        # A reader that did not wait would be through with all hundred by now.
        for reader in reader_threads():
            reader.join(0.005)
        ahead.append(taken - len(ahead))

    stats = run_cameras(fake_classifier(manifest, before_answer), [spec(FakeCamera(pictures()), "film.mp4")], [])
    assert (stats.frames, stats.dropped) == (100, 0)
    assert max(ahead) < 10


def test_a_file_that_fails_does_so_after_its_last_frame_was_answered(classifier: Classifier) -> None:
    sink = ListSink()
    camera = BrokenCamera([plain_picture(colour) for colour in CLASSES])
    with pytest.raises(CameraError, match="/dev/video7: stopped delivering frames; check the cable"):
        run_cameras(classifier, [spec(camera)], [sink])
    assert [prediction.answer for prediction in sink.received] == list(CLASSES)
    assert camera.closed
    assert reader_threads() == []


def test_a_file_that_fails_at_once_is_no_empty_success(classifier: Classifier) -> None:
    with pytest.raises(CameraError):
        run_cameras(classifier, [spec(BrokenCamera([]))], [])


def test_an_empty_source_ends_with_nothing(classifier: Classifier) -> None:
    stats = run_cameras(classifier, [spec(FakeCamera([]))], [])
    assert stats.frames == 0
    assert stats.summary()["frames_per_second"] == 0.0
    assert "0 frames" in stats.sentence()


class LeavingSink(ListSink):
    """A reader like ``head``: leaves after some predictions."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def write(self, result: Result) -> None:
        if len(self.received) == self._after:
            raise SinkGone
        super().write(result)


@pytest.mark.parametrize("live", [False, True])
def test_a_reader_that_leaves_ends_the_loop_quietly(classifier: Classifier, live: bool) -> None:
    def endless() -> Iterator[Pixels]:
        for shade in itertools.cycle(range(40)):
            yield plain_picture("red") + np.uint8(shade // 8)

    camera = FakeCamera(endless(), live=live)
    sink = LeavingSink(after=3)
    stats = run_cameras(classifier, [spec(camera)], [sink])
    assert len(sink.received) == 3
    assert stats.frames > 3
    assert camera.closed
    assert reader_threads() == []


class FullSink(ListSink):
    """A disk without space."""

    def write(self, result: Result) -> None:
        raise SinkError("events.jsonl: No space left on device; free some space or name another place")


def test_a_sink_that_fails_is_reported_and_the_camera_released(classifier: Classifier) -> None:
    camera = FakeCamera([plain_picture("red")] * 100)
    with pytest.raises(SinkError, match="No space left"):
        run_cameras(classifier, [spec(camera)], [FullSink()])
    assert camera.closed
    assert reader_threads() == []


def test_a_model_that_fails_is_reported_and_the_camera_released(manifest: Manifest) -> None:
    engine = FakeEngine(3, (SIDE, SIDE), lambda pixels: np.array([np.nan, 0, 1], np.float32))
    camera = FakeCamera([plain_picture("red")] * 100)
    with pytest.raises(EngineError, match="NaN"):
        run_cameras(Classifier(manifest, manifest.variants[0], engine), [spec(camera)], [])
    assert camera.closed
    assert reader_threads() == []


@pytest.mark.parametrize("limit", [1, 3, 10])
@pytest.mark.parametrize("live", [False, True])
def test_it_stops_after_as_many_predictions_as_asked_for(classifier: Classifier, limit: int, live: bool) -> None:
    def endless() -> Iterator[Pixels]:
        while True:
            yield plain_picture("green")

    camera = FakeCamera(endless(), live=live)
    sink = ListSink()
    assert run_cameras(classifier, [spec(camera)], [sink], limit=limit).frames == limit
    assert len(sink.received) == limit
    assert camera.closed
    assert reader_threads() == []


def test_a_limit_beyond_the_end_of_a_file_is_no_fault(classifier: Classifier) -> None:
    assert run_cameras(classifier, [spec(FakeCamera([plain_picture("red")] * 2))], [], limit=5).frames == 2


def test_times_and_ages_are_told_and_the_summary_adds_them_up(classifier: Classifier) -> None:
    sink = ListSink()
    stats = run_cameras(classifier, [spec(FakeCamera([plain_picture("red")] * 4))], [sink])
    for prediction in sink.received:
        assert prediction.age_ms >= prediction.stages_ms.infer > 0
        assert prediction.stages_ms.preprocess > 0
    summary = stats.summary()
    infer = sum(prediction.stages_ms.infer for prediction in sink.received) / 4
    assert summary["mean_stages_ms"]["infer"] == pytest.approx(infer)  # type: ignore[index]
    assert "scene" not in summary


def test_a_camera_that_knows_the_truth_is_scored(classifier: Classifier) -> None:
    stats = LoopStats()
    found = answered(classifier, ["red"] * 4)
    for prediction, truth in zip(found, ("red", "red", "blue", None), strict=True):
        fields = {name: getattr(prediction, name) for name in Prediction.__slots__}
        stats.add(Prediction(**{**fields, "truth": truth}))
    assert stats.summary()["scene"] == {"accuracy": pytest.approx(2 / 3), "n": 3}
    assert stats.sentence().endswith("2 of 3 right")


def test_each_region_of_a_picture_has_its_own_answer_and_its_own_events(classifier: Classifier) -> None:
    halves = (Region("left", 0, 0, 0.5, 1), Region("right", 0.5, 0, 0.5, 1))
    pictures = [np.hstack([plain_picture("red"), plain_picture(right)]) for right in ("green", "green", "blue")]
    sink = ListSink()
    stats = run_cameras(classifier, [spec(FakeCamera(pictures), "belt", halves)], [sink])
    assert stats.frames == 6
    told = [(each.frame, each.region, each.answer, each.event) for each in sink.received]
    assert told == [
        (0, "left", "red", Event.ENTERED),
        (0, "right", "green", Event.ENTERED),
        (1, "left", "red", None),
        (1, "right", "green", None),
        (2, "left", "red", None),
        (2, "right", "blue", Event.CHANGED),
    ]


def test_cameras_share_the_model_in_turn(classifier: Classifier) -> None:
    cameras = [
        spec(FakeCamera([plain_picture(colour)] * 50), name)
        for name, colour in zip("abc", ("red", "green", "blue"), strict=True)
    ]
    sink = ListSink()
    run_cameras(classifier, cameras, [sink])
    assert len(sink.received) == 150
    assert {(each.camera, each.answer) for each in sink.received} == {("a", "red"), ("b", "green"), ("c", "blue")}
    # All three have frames waiting nearly always: none gets far ahead.
    served = [each.camera for each in sink.received[30:100]]
    assert all(served.count(name) > 10 for name in "abc")


def test_a_sink_gets_the_frame_only_where_it_wants_it(classifier: Classifier) -> None:
    sinks = [ListSink(Want.FRAME), ListSink(Want.PREDICTION), ListSink(Want.NOTHING)]
    run_cameras(classifier, [spec(FakeCamera([plain_picture("red")] * 5))], sinks)
    assert [(len(sink.received), sink.frames) for sink in sinks] == [(5, 5), (5, 0), (0, 0)]
