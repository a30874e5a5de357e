"""The loop between a camera and its sinks: which frames are seen, which are dropped, and how everything ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundles import CLASSES, SIDE, colour_manifest, plain_picture

from device.cameras.base import Frame
from device.cameras.fake import FakeCamera
from device.classifier import Classifier, open_classifier
from device.contract import Manifest
from device.engines.fake import FakeEngine
from device.errors import CameraError, EngineError, SinkError
from device.loop import LoopStats, predictions, run_loop
from device.prediction import Prediction
from device.preprocess import Pixels
from device.sinks import SinkGone
from device.sinks.fake import ListSink

# A test that fails must end, not hang: no event here takes longer than this on any machine.
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def manifest(colour_models: dict[str, bytes]) -> Manifest:
    return colour_manifest({"onnx-float32": colour_models["onnx-float32"]})[0]


@pytest.fixture
def classifier(colour_bundle: Path) -> Iterator[Classifier]:
    with open_classifier(colour_bundle, threads=1) as opened:
        yield opened


def fake_classifier(manifest: Manifest, before_answer: object = None) -> Classifier:
    """Answers from the mean of each channel; ``before_answer`` is called first."""

    def answer(pixels: Pixels) -> np.ndarray:
        if callable(before_answer):
            before_answer()
        means = pixels.reshape(-1, 3).mean(axis=0) + 1
        return (means / means.sum()).astype(np.float32)

    return Classifier(manifest, manifest.variants[0], FakeEngine(3, (SIDE, SIDE), answer))


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
    stats = run_loop(camera, "film.mp4", classifier, [sink])
    assert [prediction.frame for prediction in sink.received] == list(range(35))
    assert [prediction.answer or "grey" for prediction in sink.received] == colours
    assert (stats.frames, stats.dropped, stats.unknown) == (35, 0, 10)
    assert stats.answers == {"red": 15, "green": 5, "blue": 5, "(unknown)": 10}
    assert {prediction.camera for prediction in sink.received} == {"film.mp4"}


def test_an_event_marks_every_change_of_the_answer_and_the_first(classifier: Classifier) -> None:
    colours = ["red", "red", "green", "grey", "grey", "green"]
    found = list(predictions(FakeCamera(map(plain_picture, colours)), "x", classifier))
    assert [prediction.event for prediction in found] == ["changed", None, "changed", "changed", None, "changed"]
    assert [prediction.unknown for prediction in found] == [False, False, False, True, True, False]


def test_every_sink_gets_every_prediction(classifier: Classifier) -> None:
    sinks = [ListSink(), ListSink()]
    run_loop(FakeCamera([plain_picture("red")] * 3), "x", classifier, sinks)
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
        target=run_loop, args=(camera, "0", fake_classifier(manifest, before_answer), [sink]), daemon=True
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
        (0, "red", 3),
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

    stats = run_loop(FakeCamera(pictures()), "film.mp4", fake_classifier(manifest, before_answer), [])
    assert (stats.frames, stats.dropped) == (100, 0)
    assert max(ahead) < 10


def test_a_camera_that_fails_does_so_after_its_last_frame_was_answered(classifier: Classifier) -> None:
    sink = ListSink()
    camera = BrokenCamera([plain_picture(colour) for colour in CLASSES])
    with pytest.raises(CameraError, match="/dev/video7: stopped delivering frames; check the cable"):
        run_loop(camera, "x", classifier, [sink])
    assert [prediction.answer for prediction in sink.received] == list(CLASSES)
    assert camera.closed
    assert reader_threads() == []


def test_a_camera_that_fails_at_once_is_no_empty_success(classifier: Classifier) -> None:
    with pytest.raises(CameraError):
        run_loop(BrokenCamera([], live=True), "x", classifier, [])


def test_an_empty_source_ends_with_nothing(classifier: Classifier) -> None:
    stats = run_loop(FakeCamera([]), "x", classifier, [])
    assert stats.frames == 0
    assert stats.summary()["frames_per_second"] == 0.0
    assert "0 frames" in stats.sentence()


class LeavingSink(ListSink):
    """A reader like ``head``: leaves after some predictions."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def write(self, prediction: Prediction) -> None:
        if len(self.received) == self._after:
            raise SinkGone
        super().write(prediction)


@pytest.mark.parametrize("live", [False, True])
def test_a_reader_that_leaves_ends_the_loop_quietly(classifier: Classifier, live: bool) -> None:
    def endless() -> Iterator[Pixels]:
        while True:
            yield plain_picture("red")

    camera = FakeCamera(endless(), live=live)
    sink = LeavingSink(after=3)
    stats = run_loop(camera, "x", classifier, [sink])
    assert len(sink.received) == 3
    assert stats.frames == 4
    assert camera.closed
    assert reader_threads() == []


class FullSink(ListSink):
    """A disk without space."""

    def write(self, prediction: Prediction) -> None:
        raise SinkError("events.jsonl: No space left on device; free some space or name another place")


def test_a_sink_that_fails_is_reported_and_the_camera_released(classifier: Classifier) -> None:
    camera = FakeCamera([plain_picture("red")] * 100)
    with pytest.raises(SinkError, match="No space left"):
        run_loop(camera, "x", classifier, [FullSink()])
    assert camera.closed
    assert reader_threads() == []


def test_a_model_that_fails_is_reported_and_the_camera_released(manifest: Manifest) -> None:
    engine = FakeEngine(3, (SIDE, SIDE), lambda pixels: np.array([np.nan, 0, 1], np.float32))
    camera = FakeCamera([plain_picture("red")] * 100)
    with pytest.raises(EngineError, match="NaN"):
        run_loop(camera, "x", Classifier(manifest, manifest.variants[0], engine), [])
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
    assert run_loop(camera, "x", classifier, [sink], limit=limit).frames == limit
    assert len(sink.received) == limit
    assert camera.closed
    assert reader_threads() == []


def test_a_limit_beyond_the_end_of_a_file_is_no_fault(classifier: Classifier) -> None:
    assert run_loop(FakeCamera([plain_picture("red")] * 2), "x", classifier, [], limit=5).frames == 2


def test_who_stops_listening_to_predictions_releases_the_camera(classifier: Classifier) -> None:
    camera = FakeCamera([plain_picture("red")] * 100)
    listening = predictions(camera, "x", classifier)
    assert next(listening).answer == "red"
    listening.close()  # type: ignore[attr-defined]
    assert camera.closed
    assert reader_threads() == []


def test_times_and_ages_are_told_and_the_summary_adds_them_up(classifier: Classifier) -> None:
    sink = ListSink()
    stats = run_loop(FakeCamera([plain_picture("red")] * 4), "x", classifier, [sink])
    for prediction in sink.received:
        assert prediction.age_ms >= prediction.stages_ms.infer > 0
        assert prediction.stages_ms.preprocess > 0
    summary = stats.summary()
    infer = sum(prediction.stages_ms.infer for prediction in sink.received) / 4
    assert summary["mean_stages_ms"]["infer"] == pytest.approx(infer)  # type: ignore[index]
    assert "scene" not in summary


def test_a_camera_that_knows_the_truth_is_scored(classifier: Classifier) -> None:
    stats = LoopStats()
    found = list(predictions(FakeCamera([plain_picture("red")] * 4), "x", classifier))
    for prediction, truth in zip(found, ("red", "red", "blue", None), strict=True):
        fields = {name: getattr(prediction, name) for name in Prediction.__slots__}
        stats.add(Prediction(**{**fields, "truth": truth}))
    assert stats.summary()["scene"] == {"accuracy": pytest.approx(2 / 3), "n": 3}
    assert stats.sentence().endswith("2 of 3 right")
