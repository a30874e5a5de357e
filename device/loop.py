"""The loop: newest frame, classify, decide; one thread for all cameras, which share the model in turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from device.cameras.base import Frame
from device.cameras.spec import CameraSpec, Region
from device.classifier import Classified, Classifier
from device.crew import Crew
from device.decisions import Decided, Decider, FrameRateCap, MotionGate, Rules, crop
from device.intake import Intake
from device.prediction import PREDICTION_SCHEMA, Prediction, StageTimes
from device.preprocess import Pixels
from device.sinks.base import Result

# How long the loop waits for a frame before it looks whether it was told to stop.
_PATIENCE_S = 0.5


@dataclass
class LoopStats:
    """What a loop did: counts, and milliseconds summed per stage."""

    frames: int = 0
    dropped: int = 0
    still: int = 0
    unknown: int = 0
    seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    stages_ms: dict[str, float] = field(default_factory=dict)
    scored: int = 0
    correct: int = 0

    def add(self, prediction: Prediction) -> None:
        """Count a prediction."""
        self.frames += 1
        self.unknown += prediction.unknown
        label = prediction.answer or "(unknown)"
        self.answers[label] = self.answers.get(label, 0) + 1
        times = prediction.stages_ms
        for stage in StageTimes.__slots__:
            self.stages_ms[stage] = self.stages_ms.get(stage, 0.0) + getattr(times, stage)
        if prediction.truth is not None:
            self.scored += 1
            self.correct += prediction.answer == prediction.truth

    @property
    def frames_per_second(self) -> float:
        """Over the whole loop."""
        return self.frames / self.seconds if self.seconds else 0.0

    def summary(self) -> dict[str, object]:
        """As JSON-ready numbers; ``scene`` is there when the camera knew what it showed."""
        result: dict[str, object] = {
            "frames": self.frames,
            "seconds": self.seconds,
            "frames_per_second": self.frames_per_second,
            "dropped": self.dropped,
            "still": self.still,
            "unknown": self.unknown,
            "answers": self.answers,
            "mean_stages_ms": {stage: total / max(1, self.frames) for stage, total in self.stages_ms.items()},
        }
        if self.scored:
            result["scene"] = {"accuracy": self.correct / self.scored, "n": self.scored}
        return result

    def sentence(self) -> str:
        """For a person."""
        text = f"{self.frames} frames in {self.seconds:.1f} s ({self.frames_per_second:.1f}/s), {self.dropped} dropped"
        text = f"{text}, {self.still} still" if self.still else text
        text = f"{text}, {self.unknown} unknown"
        return f"{text}; {self.correct} of {self.scored} right" if self.scored else text


class Stream:
    """One camera's part of the loop: which of its frames are classified, and what its regions' answers settle to.

    Args:
        spec: the camera.
        classifier: names the classes and how sure is sure.
        rules: how answers settle.
        most_fps: frames a second that are classified at most; None is no limit.
        gate: leaves out frames in which nothing moves; None classifies all.
    """

    def __init__(
        self,
        spec: CameraSpec,
        classifier: Classifier,
        rules: Rules,
        most_fps: float | None = None,
        gate: MotionGate | None = None,
    ) -> None:
        self.name = spec.name
        self.classified = 0
        self.still = 0
        self._regions: tuple[Region | None, ...] = spec.regions or (None,)
        self._gate = gate
        self._most_fps = most_fps
        self._cap = FrameRateCap(most_fps)
        decision = classifier.variant.decision
        self._deciders = [Decider(classifier.manifest.classes, decision, rules) for _ in self._regions]

    def limit(self, fps: float | None) -> None:
        """Classify no more than so many frames a second, or than was set at the start, whichever is less."""
        limits = [each for each in (fps, self._most_fps) if each is not None]
        self._cap.limit(min(limits) if limits else None)

    def passes(self, frame: Frame) -> bool:
        """Whether this frame is to be classified."""
        if not self._cap.due(frame.captured_monotonic):
            return False
        if self._gate is not None and self._gate.still(frame.pixels, frame.captured_monotonic):
            self.still += 1
            return False
        return True

    def submit(self, frame: Frame, crew: Crew) -> list[Future[Classified]]:
        """Begin to classify every region, ahead of ``results``."""
        return [crew.submit(pixels, frame.order) for pixels in self._pictures(frame)]

    def classify(self, frame: Frame, classifier: Classifier) -> Iterator[Classified]:
        """Every region, one at a time."""
        return (classifier.classify(pixels, frame.order) for pixels in self._pictures(frame))

    def results(self, frame: Frame, answers: Iterable[Classified], dropped: int) -> Iterator[Result]:
        """One result per region.

        Args:
            frame: in the order in which they came.
            answers: about its regions, in their order.
            dropped: frames of this camera so far.
        """
        self.classified += 1
        for region, decider, classified in zip(self._regions, self._deciders, answers, strict=True):
            start = time.perf_counter()
            decided = decider.decide(classified.probabilities, frame.captured_monotonic)
            decide_ms = (time.perf_counter() - start) * 1e3
            name = "" if region is None else region.name
            yield Result(_prediction((self.name, name), frame, classified, decided, decide_ms, dropped), frame)

    def _pictures(self, frame: Frame) -> Iterator[Pixels]:
        return (frame.pixels if region is None else crop(frame.pixels, region) for region in self._regions)


# A frame whose classification has begun, the answers to come, and how many frames were dropped before it.
_Begun: TypeAlias = tuple[Stream, Frame, Iterable[Classified], int]


class Loop:
    """Takes frames as the cameras' threads bring them, and answers.

    Args:
        intake: one lane per stream, in the same order.
        streams: what becomes of each lane's frames.
        classifier: open; used from the thread that iterates only.
        crew: copies of it that classify in its place, for lanes of which every frame counts.
    """

    def __init__(
        self, intake: Intake, streams: Sequence[Stream], classifier: Classifier, crew: Crew | None = None
    ) -> None:
        self._intake = intake
        self._streams = streams
        self._classifier = classifier
        self._crew = crew
        # Since when a frame has been with the model, on time.monotonic; None while the loop waits for one.
        self.busy_since: float | None = None
        # When it last dealt with a frame, on time.time.
        self.progressed_at: float | None = None

    def results(self, limit: int | None = None) -> Iterator[Result]:
        """Classify until the cameras end, the intake is closed, or so many results have been given.

        Raises:
            CameraError: a file could not be read.
            EngineError: the model failed.
        """
        count = 0
        for stream, frame, answers, dropped in self._begun():
            self.busy_since = time.monotonic()
            for result in stream.results(frame, answers, dropped):
                self.busy_since, self.progressed_at = None, time.time()
                yield result
                count += 1
                if limit is not None and count >= limit:
                    return
                self.busy_since = time.monotonic()
            self.busy_since = None

    def _begun(self) -> Iterator[_Begun]:
        ahead: deque[_Begun] = deque()
        most = 0 if self._crew is None else self._crew.size + 1
        while True:
            try:
                # With frames at work, only what has come already goes ahead of their answers.
                taken = self._intake.get(0.0 if ahead else _PATIENCE_S)
            except Exception:
                yield from ahead
                raise
            if taken is None:
                if ahead:
                    yield ahead.popleft()
                elif self._intake.ended:
                    return
                continue
            lane, frame = taken
            if not self._streams[lane].passes(frame):
                self.progressed_at = time.time()
                continue
            ahead.append(self._begin(lane, frame))
            if len(ahead) > most:
                yield ahead.popleft()

    def _begin(self, lane: int, frame: Frame) -> _Begun:
        stream, dropped = self._streams[lane], self._intake.dropped(lane)
        if self._crew is None:
            return stream, frame, stream.classify(frame, self._classifier), dropped
        return stream, frame, (each.result() for each in stream.submit(frame, self._crew)), dropped


def _prediction(
    source: tuple[str, str], frame: Frame, classified: Classified, decided: Decided, decide_ms: float, dropped: int
) -> Prediction:
    answer = decided.answer
    return Prediction(
        schema=PREDICTION_SCHEMA,
        camera=source[0],
        frame=frame.index,
        captured_at=frame.captured_at,
        age_ms=round((time.monotonic() - frame.captured_monotonic) * 1e3, 3),
        answer=answer.label,
        probability=round(answer.probability, 6),
        top=tuple((label, round(probability, 6)) for label, probability in answer.top),
        unknown=answer.label is None,
        event=decided.event,
        stages_ms=StageTimes(
            round(frame.decode_ms, 3),
            round(classified.preprocess_ms, 3),
            round(classified.infer_ms, 3),
            round(decide_ms, 3),
        ),
        dropped=dropped,
        region=source[1],
        settled=decided.settled,
        previous=decided.previous,
        name=frame.name,
        truth=frame.truth,
    )
