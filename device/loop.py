"""The loop: frames from a camera to a classifier to sinks.

One thread reads the camera, the caller's thread classifies. Between them lies a FrameQueue: of a live source it
keeps only the newest frame, so that an answer is never about the past; of a file it keeps every frame and makes
the reader wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from device.cameras.base import Frame, FrameSource
from device.classifier import Classified, Classifier
from device.prediction import PREDICTION_SCHEMA, Prediction, StageTimes
from device.sinks.base import Sink, SinkGone

# Deep enough that reader and classifier seldom wait for one another, shallow enough to cost no memory.
_FILE_DEPTH = 4
_JOIN_TIMEOUT_S = 2.0


class FrameQueue:
    """Hands frames from the reader's thread to the classifier's.

    Args:
        live: keep only the newest frame and count the others as dropped; else keep all and block the reader.
    """

    def __init__(self, live: bool) -> None:
        self._live = live
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, frame: Frame) -> bool:
        """Add a frame; False when the queue was closed and the reader should stop."""
        with self._changed:
            if self._live:
                self.dropped += len(self._frames)
                self._frames.clear()
            else:
                self._changed.wait_for(lambda: len(self._frames) < _FILE_DEPTH or self._ended)
            if self._ended:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def get(self) -> Frame | None:
        """Wait for the next frame; None when the source has ended.

        Raises:
            whatever ended the source, once all frames before it have been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended)
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def end(self, error: BaseException | None = None) -> None:
        """No more frames will come; with the reason when that is a failure."""
        with self._changed:
            self._ended = True
            self._error = self._error or error
            self._changed.notify_all()


@dataclass
class LoopStats:
    """What a loop did: counts, and milliseconds summed per stage."""

    frames: int = 0
    dropped: int = 0
    unknown: int = 0
    seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    stages_ms: dict[str, float] = field(default_factory=dict)
    scored: int = 0
    correct: int = 0

    def add(self, prediction: Prediction) -> None:
        """Count a prediction."""
        self.frames += 1
        self.dropped = prediction.dropped
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
        text = f"{text}, {self.unknown} unknown"
        return f"{text}; {self.correct} of {self.scored} right" if self.scored else text


def predictions(
    camera: FrameSource, name: str, classifier: Classifier, limit: int | None = None
) -> Iterator[Prediction]:
    """Classify a camera's frames as they come.

    Args:
        camera: open; it is read and closed by a thread of this function's.
        name: how predictions call it.
        classifier: open.
        limit: stop after so many predictions.

    Raises:
        CameraError: the camera failed.
        EngineError: the model failed.
    """
    queue = FrameQueue(camera.live)
    reader = threading.Thread(target=_read_into, args=(camera, queue), name="camera", daemon=True)
    reader.start()
    previous: str | None = None
    try:
        count = 0
        while (limit is None or count < limit) and (frame := queue.get()) is not None:
            classified = classifier.classify(frame.pixels, frame.order)
            changed = count == 0 or classified.answer.label != previous
            previous = classified.answer.label
            count += 1
            yield _prediction(name, frame, classified, "changed" if changed else None, queue.dropped)
    finally:
        queue.end()
        reader.join(_JOIN_TIMEOUT_S)


def run_loop(
    camera: FrameSource, name: str, classifier: Classifier, sinks: Sequence[Sink], limit: int | None = None
) -> LoopStats:
    """Classify until the source ends or the limit is reached, and give every prediction to every sink.

    Raises:
        CameraError, EngineError: see ``predictions``.
        SinkError: a sink failed.
    """
    stats = LoopStats()
    start = time.monotonic()
    try:
        for prediction in predictions(camera, name, classifier, limit):
            stats.add(prediction)
            for sink in sinks:
                sink.write(prediction)
    except (KeyboardInterrupt, SinkGone):
        pass  # a person, or the program behind the pipe, has seen enough; the summary still comes
    stats.seconds = time.monotonic() - start
    return stats


def _read_into(camera: FrameSource, queue: FrameQueue) -> None:
    # The thread that reads also closes: releasing a device under a blocked read crashes in the driver's library.
    with camera:
        try:
            while (frame := camera.read()) is not None:
                if not queue.put(frame):
                    return
            queue.end()
        except BaseException as err:  # the other thread raises it
            queue.end(err)


def _prediction(name: str, frame: Frame, classified: Classified, event: str | None, dropped: int) -> Prediction:
    answer = classified.answer
    return Prediction(
        schema=PREDICTION_SCHEMA,
        camera=name,
        frame=frame.index,
        captured_at=frame.captured_at,
        age_ms=round((time.monotonic() - frame.captured_monotonic) * 1e3, 3),
        answer=answer.label,
        probability=round(answer.probability, 6),
        top=tuple((label, round(probability, 6)) for label, probability in answer.top),
        unknown=answer.label is None,
        event=event,
        stages_ms=StageTimes(
            round(frame.decode_ms, 3),
            round(classified.preprocess_ms, 3),
            round(classified.infer_ms, 3),
            round(classified.decide_ms, 3),
        ),
        dropped=dropped,
        name=frame.name,
        truth=frame.truth,
    )
