"""Drift, on real films: nothing is said while all is well, and the right thing soon after something happened."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from bundles import plain_picture

from device.cameras.base import Frame
from device.cameras.fake import FakeCamera
from device.cameras.scene import SceneCamera
from device.cameras.spec import CameraSpec
from device.classifier import Classifier, open_classifier
from device.contract import ColourOrder, EngineKind, PreprocessSpec, SplitRule, Training, TrainingStatistics
from device.drift import DriftConfig, DriftWatch
from device.drift_baseline import Baseline, baseline_file, divergence, load_baseline
from device.engines.factory import load_engine
from device.picture_statistics import PictureStatistics, picture_statistics, summarise
from device.prediction import PREDICTION_SCHEMA, Prediction, StageTimes
from device.preprocess import Pixels, preprocess
from device.runtime import RunConfig, Runtime
from device.sinks.base import Result

SPEC = PreprocessSpec(height=224, width=224)
SMALL = PreprocessSpec(height=96, width=96)
EVERY_S = 0.5
CALM_S, SOON_S = 600.0, 180.0
FILMS = ("bottle-detection", "one-by-one-person-detection")
Change = Callable[[Pixels], Pixels]


def prediction(answer: str | None = "a", probability: float = 0.9) -> Prediction:
    return Prediction(
        schema=PREDICTION_SCHEMA,
        camera="c",
        frame=0,
        captured_at=0.0,
        age_ms=0.0,
        answer=answer,
        probability=probability,
        top=((answer or "a", probability),),
        unknown=answer is None,
        event=None,
        stages_ms=StageTimes(0, 0, 0, 0),
        dropped=0,
    )


@dataclass
class Board:
    """A camera that is watched, with a clock of its own."""

    watch: DriftWatch
    now: float = 0.0

    def play(self, seen: Sequence[tuple[PictureStatistics, Prediction]], seconds: float) -> list[tuple[str, ...]]:
        """Show these over and over; the warnings after each picture."""
        told = []
        for number in range(int(seconds / EVERY_S)):
            statistics, answer = seen[number % len(seen)]
            self.now += EVERY_S
            self.watch.observe(answer, statistics, self.now)
            told.append(self.watch.status().warnings)
        return told


class Films:
    """Half-second pictures of real films with a real model's answers; each change of a film is worked out once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engine = load_engine(
            EngineKind.LITERT, (folder / "weights" / "tf2_mobilenet_v2_1.0_224_ptq.tflite").read_bytes(), 1
        )
        self._kept: dict[str, list[Pixels]] = {}

    def frames(self, film: str) -> list[Pixels]:
        if film not in self._kept:
            film_file = cv2.VideoCapture(str(self._folder / "video" / f"{film}.mp4"))
            step = max(1, round(film_file.get(cv2.CAP_PROP_FPS) * EVERY_S))
            kept: list[Pixels] = []
            while film_file.grab():
                kept.append(film_file.retrieve()[1])  # type: ignore[arg-type]
                for _ in range(step - 1):
                    film_file.grab()
            self._kept[film] = kept
        return self._kept[film]

    def seen(
        self, film: str, change: Change = lambda pixels: pixels, spec: PreprocessSpec = SPEC
    ) -> list[tuple[PictureStatistics, Prediction]]:
        seen = []
        for frame in self.frames(film):
            changed = change(frame)
            probabilities = self._engine.run(preprocess(changed, SPEC))
            best = int(probabilities.argmax())
            sure = float(probabilities[best])
            answer = prediction(str(best) if sure > 0.3 else None, sure)
            seen.append((picture_statistics(preprocess(changed, spec)), answer))
        return seen


@pytest.fixture(scope="module")
def films(shared_data: Path) -> Films:
    return Films(shared_data)


def turned(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    around = cv2.getRotationMatrix2D((width / 2, height / 2), 15, 1.2)
    return cv2.warpAffine(pixels, around, (width, height))  # type: ignore[return-value]


def shifted(pixels: Pixels) -> Pixels:
    return np.roll(pixels, pixels.shape[1] // 8, 1)


def smeared(pixels: Pixels) -> Pixels:
    return cv2.GaussianBlur(pixels, (0, 0), 3.5)  # type: ignore[return-value]


def darkened(pixels: Pixels) -> Pixels:
    return (pixels * 0.15).astype(np.uint8)


def overexposed(pixels: Pixels) -> Pixels:
    return np.clip(pixels * 2.5 + 60, 0, 255).astype(np.uint8)


CHANGES: dict[str, tuple[Change, str]] = {
    "turned": (turned, "another background"),
    "shifted": (shifted, "another background"),
    "smeared": (smeared, "lost its sharpness"),
    "darkened": (darkened, "is dark"),
    "overexposed": (overexposed, "over-exposed"),
}


@pytest.mark.parametrize(
    ("film", "spec"),
    [(FILMS[0], SPEC), (FILMS[1], SPEC), (FILMS[0], SMALL)],
    ids=["bottle-224", "person-224", "bottle-96"],
)
def test_all_is_well_for_ten_minutes_then_every_change_is_told_and_ends(
    films: Films, film: str, spec: PreprocessSpec
) -> None:
    calm = films.seen(film, spec=spec)
    board = Board(DriftWatch("c", spec))
    assert set(board.play(calm, CALM_S)) == {()}
    for name, (change, words) in CHANGES.items():
        told = board.play(films.seen(film, change, spec), SOON_S)
        assert any(words in warning for warning in told[-1]), (name, told[-1])
        assert told[int(60 / EVERY_S)] == (), name  # what passes within a minute is no drift
        assert board.play(calm, SOON_S + 60)[-1] == (), name
    assert set(board.play(calm, CALM_S)) == {()}


@pytest.mark.parametrize(("film", "other"), [FILMS, FILMS[::-1]])
def test_other_content_is_told(films: Films, film: str, other: str) -> None:
    board = Board(DriftWatch("c", SPEC))
    board.play(films.seen(film), CALM_S)
    assert any("another background" in warning for warning in board.play(films.seen(other), SOON_S)[-1])


def test_light_that_comes_and_goes_is_no_drift(films: Films) -> None:
    board = Board(DriftWatch("c", SPEC))
    board.play(films.seen(FILMS[0]), CALM_S)
    for gain in (0.65, 1.15):
        seen = films.seen(FILMS[0], lambda pixels, gain=gain: np.clip(pixels * gain, 0, 250).astype(np.uint8))  # type: ignore[misc]
        assert set(board.play(seen, SOON_S)) == {()}, gain


def test_a_scene_whose_background_never_stands_still_is_no_drift() -> None:
    seen = []
    with SceneCamera(fps=1 / EVERY_S, frames=2400, width=160, height=120, live=False) as camera:
        while (frame := camera.read()) is not None:
            seen.append((picture_statistics(preprocess(frame.pixels, SMALL)), prediction(frame.truth)))
    board = Board(DriftWatch("c", SMALL))
    assert set(board.play(seen, len(seen) * EVERY_S)) == {()}


def picture() -> PictureStatistics:
    pixels = np.random.default_rng(3).integers(60, 200, (96, 96, 3), np.uint8)
    return picture_statistics(cv2.GaussianBlur(pixels, (0, 0), 1.0))  # type: ignore[arg-type]


def test_a_model_that_is_less_sure_is_told() -> None:
    board = Board(DriftWatch("c", SMALL))
    board.play([(picture(), prediction("a", 0.9)), (picture(), prediction("b", 0.8))], CALM_S)
    (warning,) = board.play([(picture(), prediction(None, 0.4))], SOON_S)[-1]
    assert "mean probability 40%, 100% unknown" in warning
    assert "edgegraft capture" in warning


def test_answers_are_compared_with_the_first_days_not_with_the_first_minutes() -> None:
    config = DriftConfig(day_windows=60, week_windows=120, answers_windows=10)
    board = Board(DriftWatch("c", SMALL, config=config))
    assert board.play([(picture(), prediction("a"))], 1800)[-1] == ()
    assert board.play([(picture(), prediction("b"))], 1800)[-1] == ()  # an hour is not a day
    assert board.play([(picture(), prediction("a")), (picture(), prediction("b"))], 3660)[-1] == ()
    (warning,) = board.play([(picture(), prediction("c"))], 900)[-1]
    assert warning.startswith("the answers of the last hour are others")


def trained(photos: Sequence[Pixels]) -> TrainingStatistics:
    probabilities = np.array([[0.95, 0.05], [0.2, 0.8]], np.float32)
    return summarise(photos, probabilities, 0.5)


def test_with_training_statistics_a_board_that_starts_dirty_or_dark_says_so_at_once(films: Films) -> None:
    photos = [preprocess(frame, SPEC) for frame in films.frames(FILMS[0])]
    training = msgspec.json.decode(msgspec.json.encode(trained(photos)), type=TrainingStatistics)
    assert training.mean_probability == pytest.approx(0.875)
    sure = [(statistics, prediction("a", 0.9)) for statistics, _ in films.seen(FILMS[0])]
    assert set(Board(DriftWatch("c", SPEC, training)).play(sure, CALM_S)) == {()}
    for change in ("smeared", "darkened", "overexposed"):
        function, words = CHANGES[change]
        seen = [(statistics, prediction("a", 0.9)) for statistics, _ in films.seen(FILMS[0], function)]
        told = Board(DriftWatch("c", SPEC, training)).play(seen, SOON_S)
        assert any(words in warning for warning in told[-1]), change
    lost = [(statistics, prediction(None, 0.3)) for statistics, _ in films.seen(FILMS[0])]
    assert any("less sure" in warning for warning in Board(DriftWatch("c", SPEC, training)).play(lost, SOON_S)[-1])


def test_what_was_learned_outlives_a_restart(films: Films, tmp_path: Path) -> None:
    state = tmp_path / "state" / "drift.json"
    calm = films.seen(FILMS[0])
    Board(DriftWatch("c", SPEC, state=state)).play(calm, CALM_S)
    told = Board(DriftWatch("c", SPEC, state=state)).play(films.seen(FILMS[0], turned), SOON_S)
    assert f"remove {state} and start again" in told[-1][0]
    assert [path.name for path in state.parent.iterdir()] == ["drift.json"]
    assert state.stat().st_size < 20_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"[" * 100_000,
        lambda data: data.replace(b'"schema":1', b'"schema":2'),
        lambda data: data.replace(b'"reference":[', b'"reference":[1,'),
        lambda data: data.replace(b'"windows":9', b'"windows":-9'),
        lambda data: data.replace(b'"lowest":{"brightness"', b'"lowest":{"x"'),
        lambda data: data.replace(b'"answers":{', b'"more":1,"answers":{'),
        lambda data: data + b" " * 300_000,
        lambda data: b"\xff" + data,
    ],
)
def test_a_damaged_state_is_left_and_learned_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    state = tmp_path / "drift.json"
    Board(DriftWatch("c", SMALL, state=state)).play([(picture(), prediction())], CALM_S)
    whole = state.read_bytes()
    assert load_baseline(state).windows == 9
    damaged = damage(whole)
    assert damaged != whole
    state.write_bytes(damaged)
    assert load_baseline(state) == Baseline()
    board = Board(DriftWatch("c", SMALL, state=state))
    assert set(board.play([(picture(), prediction())], CALM_S)) == {()}
    assert load_baseline(state).windows == 9


def test_pictures_are_looked_at_twice_a_second_and_regions_are_all_counted() -> None:
    watch = DriftWatch("c", SMALL, config=DriftConfig(window_s=10, least_pictures=5))
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    for number in range(400):
        frame = Frame(pixels, ColourOrder.BGR, number, 0.0, number / 30, 0.0)
        for answer in ("a", None):
            watch.see(Result(replace(prediction(answer, 0.6), frame=number), frame))
    assert watch.status().unknown_share == pytest.approx(0.5)
    assert watch.status().mean_probability == pytest.approx(0.6)
    watch.see(Result(prediction()))  # without a frame there is nothing to look at


def test_sharpness_falls_with_blur_and_not_with_light(films: Films) -> None:
    frame = films.frames(FILMS[1])[30]
    sharp = picture_statistics(preprocess(frame, SPEC))
    blurred = [
        picture_statistics(preprocess(cv2.GaussianBlur(frame, (0, 0), sigma), SPEC)).sharpness  # type: ignore[arg-type]
        for sigma in (0.8, 1.5, 3.0)
    ]
    assert sharp.sharpness > blurred[0] > blurred[1] > blurred[2]
    dim = picture_statistics(preprocess((frame * 0.5).astype(np.uint8), SPEC))
    assert dim.sharpness == pytest.approx(sharp.sharpness, rel=0.1)
    assert dim.brightness == pytest.approx(sharp.brightness / 2, rel=0.05)
    assert float((dim.thumbnail * sharp.thumbnail).sum()) > 0.98


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_picture_of_one_shade_is_no_trouble(shade: int) -> None:
    statistics = picture_statistics(np.full((8, 8, 3), shade, np.uint8))
    assert statistics.brightness == pytest.approx(shade / 255, abs=0.01)
    assert (statistics.sharpness, statistics.contrast, float(np.abs(statistics.thumbnail).sum())) == (0.0, 0.0, 0.0)


def test_divergence_is_nothing_between_equals_and_one_between_strangers() -> None:
    assert divergence({"a": 3, "b": 1}, {"a": 300, "b": 100}) == pytest.approx(0.0)
    assert divergence({"a": 5}, {"b": 7}) == pytest.approx(1.0)
    assert divergence({}, {"b": 7}) == 0.0
    # scipy.spatial.distance.jensenshannon([.5, .5, 0], [.25, .25, .5], base=2) ** 2
    assert divergence({"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 2}) == pytest.approx(0.311278, abs=1e-5)


@pytest.fixture
def classifier(colour_bundle: Path) -> Iterator[Classifier]:
    with open_classifier(colour_bundle, threads=1) as opened:
        yield opened


def test_another_version_goes_on_with_what_was_learned_and_another_camera_does_not(
    tmp_path: Path, classifier: Classifier
) -> None:
    manifest = classifier.manifest
    path = baseline_file(tmp_path, "belt", manifest)
    assert path.parent == tmp_path
    assert baseline_file(tmp_path, "belt", msgspec.structs.replace(manifest, version="9.0.0")) == path
    assert baseline_file(tmp_path, "door", manifest) != path
    assert baseline_file(tmp_path, "belt", msgspec.structs.replace(manifest, name="other")) != path


def test_a_running_camera_is_compared_with_what_training_saw(classifier: Classifier) -> None:
    photos = [np.full((8, 8, 3), 200, np.uint8)] * 3
    statistics = summarise(photos, np.array([[0.9, 0.1]], np.float32), 0.5)
    split = SplitRule(ready_made=False, seed=1, validation=0.2, test=0.2)
    training = Training(
        backbone="lenet5", seed=1, photos_train=3, photos_validation=1, photos_test=1, test_accuracy=1.0, split=split,
        edgegraft_version="1", statistics=statistics,
    )  # fmt: skip
    classifier.manifest = msgspec.structs.replace(classifier.manifest, training=training)
    limits = DriftConfig(every_s=0.0, window_s=0.05, least_pictures=2)
    config = RunConfig(drift=limits)
    told: list[str] = []
    for brightness, expected in ((190, False), (5, True)):
        pictures = itertools.repeat(np.full((8, 8, 3), brightness, np.uint8))
        camera = CameraSpec("x", True, partial(FakeCamera, pictures, True))
        with Runtime(classifier, [camera], config=config) as runtime:
            thread = threading.Thread(target=runtime.run, daemon=True)
            thread.start()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and not (told if expected else runtime.status().drift[0].brightness):
                told = [line for drift in runtime.status().drift for line in drift.warnings if "is dark" in line]
                time.sleep(0.02)
        thread.join(20)
        assert bool(told) is expected


def test_a_running_camera_keeps_what_it_learns(tmp_path: Path, classifier: Classifier) -> None:
    limits = DriftConfig(every_s=0.0, window_s=0.05, least_pictures=2)
    folder = tmp_path / "drift"
    pictures = itertools.repeat(plain_picture("red"))
    with Runtime(
        classifier,
        [CameraSpec("x", True, partial(FakeCamera, pictures, True))],
        config=RunConfig(None, drift=limits, drift_folder=folder),
    ) as runtime:
        thread = threading.Thread(target=runtime.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        path = baseline_file(folder, "x", classifier.manifest)
        while time.monotonic() < deadline and not path.exists():
            time.sleep(0.02)
    thread.join(20)
    assert load_baseline(path).windows >= 1
