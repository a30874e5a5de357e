"""Whether a camera still shows what the model was trained for: dirty, dark, moved, or something new."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.contract import PreprocessSpec, TrainingStatistics
from device.drift_baseline import Baseline, Window, divergence, load_baseline, save_baseline
from device.picture_statistics import PictureStatistics, picture_statistics, unit_length
from device.prediction import Prediction
from device.preprocess import preprocess
from device.sinks.base import Result
from device.status import DriftStatus


@dataclass(frozen=True, slots=True)
class DriftConfig:
    """When something is drift.

    A warning comes two to three windows after its cause, and goes two to three after that has gone.

    Attributes:
        every_s: so often a picture is looked at.
        window_s: pictures are judged together; a thing that passes by fills none.
        least_pictures: of a window; with fewer it lasts longer.
        patience: so many windows in a row must agree.
        first_windows: before so many have been learned nothing is compared with them.
        learned_windows: with so many, an hour, the pictures are learned.
        day_windows, week_windows: answers are compared after the first, and learned until the second.
        answers_windows: so many are compared with those.
        blurred: share of the lowest sharpness learned; ``blurred_training`` of the softest hundredth of the photos.
        darker: share of the lowest brightness; and under ``dark`` it must be.
        overexposed: share of white pixels above the highest.
        moved: likeness of the background under the least; and ``steady`` must that be, for the camera to stand still.
        less_sure: mean probability under the lowest, or training's.
        more_unknown: share of unknown answers above the highest, or training's.
        other_answers: Jensen-Shannon divergence, bits.
    """

    every_s: float = 0.5
    window_s: float = 60.0
    least_pictures: int = 20
    patience: int = 2
    first_windows: int = 5
    learned_windows: int = 60
    day_windows: int = 24 * 60
    week_windows: int = 7 * 24 * 60
    answers_windows: int = 60
    blurred: float = 0.55
    blurred_training: float = 0.35
    darker: float = 0.5
    dark: float = 0.25
    overexposed: float = 0.3
    moved: float = 0.25
    steady: float = 0.6
    less_sure: float = 0.25
    more_unknown: float = 0.5
    other_answers: float = 0.5


_WORDS = {
    "dark": "the picture is dark (brightness {brightness:.0%}); switch a light on, or set a longer exposure",
    "bright": "the picture is over-exposed ({bright:.0%} of it is white); shade the camera, or set a shorter exposure",
    "blurred": "the picture has lost its sharpness; clean the lens, wipe it dry, or focus it",
    "moved": "the camera shows another background than before; it was moved, or something stands before it",
    "new": "the model is less sure than it was (mean probability {mean_probability:.0%}, {unknown_share:.0%} unknown): "
    "it sees something new; collect photos of it with 'edgegraft capture' and train again",
    "answers": "the answers of the last hour are others than in the first days; if that is not what is there, collect "
    "photos with 'edgegraft capture' and train again",
}  # fmt: skip
_RELEARN = "; if that is meant, forget what was learned: remove {path} and start again"


class DriftWatch:
    """One camera's. ``see`` is called by the thread that classifies, ``status`` by any.

    Args:
        camera: its name.
        spec: of the bundle: what is looked at is the model's input.
        training: of the manifest; None compares with the camera's own first hour only.
        state: file that keeps what was learned across restarts; None learns anew.
        config: limits.
    """

    def __init__(
        self,
        camera: str,
        spec: PreprocessSpec,
        training: TrainingStatistics | None = None,
        state: Path | None = None,
        config: DriftConfig | None = None,
    ) -> None:
        self._camera = camera
        self._spec = spec
        self._training = training
        self._path = state
        self._config = config or DriftConfig()
        self._baseline = load_baseline(state) if state is not None else Baseline()
        self._lock = threading.Lock()
        self._due = float("-inf")
        self._frame: int | None = None
        self._since: float | None = None
        self._begin(None)
        self._last: Window | None = None
        self._judged: deque[frozenset[str]] = deque(maxlen=self._config.patience)
        self._hour: deque[Counter[str]] = deque(maxlen=self._config.answers_windows)
        self._active: frozenset[str] = frozenset()

    def see(self, result: Result) -> None:
        """Take notice of a result with its frame, twice a second at most; of a frame all regions are counted."""
        frame = result.frame
        if frame is None:
            return
        at_s = frame.captured_monotonic
        if frame.index == self._frame:
            self.observe(result.prediction, None, at_s)
        elif at_s >= self._due:
            self._due, self._frame = at_s + self._config.every_s, frame.index
            pixels = preprocess(frame.pixels, self._spec, frame.order)
            self.observe(result.prediction, picture_statistics(pixels), at_s)

    def observe(self, prediction: Prediction, statistics: PictureStatistics | None, at_s: float) -> None:
        """The same with the picture's statistics at hand.

        Args:
            prediction: of the whole picture or a region.
            statistics: of the picture; None for a further region of one.
            at_s: on a clock that only goes forward.
        """
        if self._since is None:
            self._since = at_s
        if at_s - self._since >= self._config.window_s and len(self._pictures) >= self._config.least_pictures:
            self._close()
            self._begin(at_s)
        if statistics is not None:
            self._pictures.append(statistics)
        self._answers[prediction.answer or ""] += 1
        self._probability += prediction.probability

    def status(self) -> DriftStatus:
        """Of the last window; before the first nothing is known."""
        with self._lock:
            last, active = self._last, self._active
        if last is None:
            return DriftStatus(camera=self._camera)
        figures = last.figures
        return DriftStatus(
            camera=self._camera,
            brightness=round(figures["brightness"], 4),
            sharpness=round(figures["sharpness"], 4),
            mean_probability=round(figures["mean_probability"], 4),
            unknown_share=round(figures["unknown_share"], 4),
            warnings=tuple(self._sentence(name, last) for name in _WORDS if name in active),
        )

    def _sentence(self, name: str, window: Window) -> str:
        again = _RELEARN.format(path=self._path) if name == "moved" and self._path is not None else ""
        return _WORDS[name].format(**window.figures) + again

    def _begin(self, at_s: float | None) -> None:
        self._since = at_s
        self._pictures: list[PictureStatistics] = []
        self._answers: Counter[str] = Counter()
        self._probability: float = 0.0

    def _close(self) -> None:
        window = self._window()
        self._hour.append(window.answers)
        found = frozenset(self._judge(window))
        self._judged.append(found)
        with self._lock:
            self._last = window
            if len(self._judged) == self._config.patience:
                agreed = frozenset.intersection(*self._judged)
                self._active = agreed | (self._active & frozenset.union(*self._judged))
        self._learn(window, found)

    def _window(self) -> Window:
        def median(name: str) -> float:
            return float(np.median([getattr(each, name) for each in self._pictures]))

        answered = sum(self._answers.values())
        figures = {name: median(name) for name in ("brightness", "sharpness", "bright")}
        figures["mean_probability"] = min(1.0, self._probability / answered)
        figures["unknown_share"] = self._answers[""] / answered
        # The median over time is the background: what passes by is not in it.
        background = np.median([each.thumbnail for each in self._pictures], axis=0).astype(np.float32)
        return Window(figures, unit_length(background), self._answers)

    def _learn(self, window: Window, found: frozenset[str]) -> None:
        config, baseline = self._config, self._baseline
        learns = not found and baseline.windows < config.learned_windows
        if learns:
            baseline.learn(window)
        if baseline.answered < config.week_windows:
            baseline.count(window)
        # Once an hour: a memory card wears out.
        hourly = baseline.answered < config.week_windows and baseline.answered % 60 == 0
        if self._path is not None and (learns or hourly):
            save_baseline(self._path, baseline)

    def _judge(self, window: Window) -> Iterator[str]:
        own = self._baseline if self._baseline.windows >= self._config.first_windows else None
        light = set(self._light(window, own))
        yield from light
        # In the dark there is nothing sharp, and no background.
        if not light:
            yield from self._place(window, own)
        yield from self._sureness(window, own)
        config, baseline = self._config, self._baseline
        if baseline.answered >= config.day_windows and len(self._hour) == config.answers_windows:
            lately: Counter[str] = Counter()
            for counts in self._hour:
                lately.update(counts)
            if divergence(lately, baseline.answers) > config.other_answers:
                yield "answers"

    def _light(self, window: Window, own: Baseline | None) -> Iterator[str]:
        config, figures, training = self._config, window.figures, self._training
        lowest = [own.lowest["brightness"]] if own else []
        highest = [own.highest["bright"]] if own else []
        if training is not None:
            lowest.append(training.brightness.quantiles[0])
            highest.append(training.bright.quantiles[-1])
        if lowest and figures["brightness"] < min(config.dark, config.darker * min(lowest)):
            yield "dark"
        if highest and figures["bright"] > max(highest) + config.overexposed:
            yield "bright"

    def _place(self, window: Window, own: Baseline | None) -> Iterator[str]:
        config, sharpness = self._config, window.figures["sharpness"]
        limits = [config.blurred * own.lowest["sharpness"]] if own else []
        if self._training is not None:
            limits.append(config.blurred_training * self._training.sharpness.quantiles[0])
        if limits and sharpness < max(limits):
            yield "blurred"
        if own and own.likeness >= config.steady and own.correlation(window) < own.likeness - config.moved:
            yield "moved"

    def _sureness(self, window: Window, own: Baseline | None) -> Iterator[str]:
        config, figures, training = self._config, window.figures, self._training
        probability = [own.lowest["mean_probability"]] if own else []
        unknown = [own.highest["unknown_share"]] if own else []
        if training is not None:
            probability.append(training.mean_probability)
            unknown.append(training.unknown_share)
        # Against the worse of the two: a camera whose pictures were never easy is no news every minute.
        less = probability and figures["mean_probability"] < min(probability) - config.less_sure
        if less or (unknown and figures["unknown_share"] > max(unknown) + config.more_unknown):
            yield "new"
