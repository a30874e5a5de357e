"""Short films of events, with what came before them."""

from __future__ import annotations

import hashlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from device.collection import bgr, jpeg
from device.errors import DeviceError, SinkError
from device.prediction import Event, Prediction
from device.preprocess import Pixels
from device.sinks.annotate import annotate, shrunk
from device.sinks.base import Result, Want
from device.sinks.film import FilmFormat, FilmWriter
from device.sinks.options import choice, choices, name, number, read_options, whole
from device.sinks.ring import Limits, Ring, stem_name
from device.status import Status

_QUALITY = 85
_MOST_CLIPS = 100_000
# Per camera, whatever is asked for; 3 s at 10 frames a second and 640x480 are about 2 MB.
_MOST_PRE_ROLL_BYTES = 16_000_000

_OPTIONS = {
    "before": number(0, 30),
    "after": number(0, 60),
    "longest": number(1, 600),
    "fps": number(1, 30),
    "width": whole(64, 1920),
    "most_mb": number(1, 1e6),
    "on": choices({event.value: event for event in Event}),
    "class": name(),
    "format": choice({kind.value: kind for kind in FilmFormat}),
}


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Which clips are made.

    Attributes:
        before, after: seconds around an event.
        longest: seconds; events that follow one another make one clip, up to this.
        fps: frames a second, of the clip and of what is kept in memory.
        width: pixels at most; larger pictures are made smaller.
        most_mb: of all clips, in 1e6 bytes; the oldest go first.
        on: the events.
        label: only events of this class (of ``left``: the one that went); None takes all.
        film: how clips are encoded.
    """

    before: float = 3.0
    after: float = 3.0
    longest: float = 60.0
    fps: float = 10.0
    width: int = 640
    most_mb: float = 1000.0
    on: frozenset[Event] = frozenset({Event.ENTERED, Event.CHANGED})
    label: str | None = None
    film: FilmFormat = FilmFormat.MP4


@dataclass(frozen=True, slots=True)
class _Shot:
    captured_at: float
    picture: bytes


@dataclass(slots=True)
class _Clip:
    """One that is being written, until its time is over."""

    film: FilmWriter
    stem: str
    started_at: float
    until: float


class _Camera:
    """What is known of one camera: its last seconds, the newest answer of each region, and its clip, if any."""

    def __init__(self, shots: int) -> None:
        self.shots: deque[_Shot] = deque(maxlen=shots)
        self.bytes = 0
        self.predictions: dict[str, Prediction] = {}
        self.clip: _Clip | None = None

    def keep(self, shot: _Shot, seconds: float) -> None:
        if len(self.shots) == self.shots.maxlen:
            self._forget()
        self.shots.append(shot)
        self.bytes += len(shot.picture)
        while len(self.shots) > 1 and (self._too_old(shot, seconds) or self.bytes > _MOST_PRE_ROLL_BYTES):
            self._forget()

    def _too_old(self, newest: _Shot, seconds: float) -> bool:
        return not 0 <= newest.captured_at - self.shots[0].captured_at <= seconds

    def _forget(self) -> None:
        self.bytes -= len(self.shots.popleft().picture)


class ClipSink:
    """Implements ``Sink``: ``<time>-<event>-<6 hex digits>.mp4`` or ``.webm``, answers and time painted in.

    Memory: up to ``before * fps`` JPEG pictures, 16 MB at most, for each camera.

    Args:
        folder: made when it is missing; shared with other files without harm.
        config: see there.

    Raises:
        SinkError: the folder cannot be written.
    """

    def __init__(self, folder: Path, config: ClipConfig) -> None:
        self._config = config
        limits = Limits(int(config.most_mb * 1e6), _MOST_CLIPS)
        self._ring = Ring(folder, [event.value for event in Event], (config.film.suffix,), limits)
        self._taken_at: dict[str, float] = {}
        self._cameras: dict[str, _Camera] = {}

    def wants(self, prediction: Prediction) -> Want:
        """See ``Sink.wants``."""
        last = self._taken_at.get(prediction.camera)
        # A little early is in time, or a camera of just this rate would lose every second frame.
        early = last is not None and 0 <= prediction.captured_at - last < 0.8 / self._config.fps
        if not early or self._triggers(prediction):
            self._taken_at[prediction.camera] = prediction.captured_at
            return Want.FRAME
        return Want.PREDICTION if prediction.region else Want.NOTHING

    def write(self, result: Result) -> None:
        """See ``Sink.write``."""
        prediction, frame, of = result.prediction, result.frame, self._config
        at = prediction.captured_at
        camera = self._cameras.setdefault(prediction.camera, _Camera(int(of.before * of.fps) + 1))
        camera.predictions[prediction.region] = prediction
        if frame is None:
            return
        if camera.clip is not None and not camera.clip.started_at <= at <= camera.clip.until:
            self._finish(camera)
        pixels = shrunk(bgr(frame), of.width)
        annotate(pixels, list(camera.predictions.values()))
        try:
            camera.keep(_Shot(at, jpeg(pixels, _QUALITY)), of.before)
        except DeviceError as err:
            raise SinkError(str(err)) from err
        if camera.clip is not None:
            self._add(camera, camera.clip, pixels, at)
        if self._triggers(prediction):
            self._begin_or_extend(camera, prediction)

    def report(self, status: Status) -> None:
        """See ``Sink.report``: a clip whose camera gives no more frames is finished."""
        for camera in self._cameras.values():
            if camera.clip is not None and status.at > camera.clip.until:
                self._finish(camera)

    def close(self) -> None:
        """See ``Sink.close``; clips that are being written end here."""
        for camera in self._cameras.values():
            with suppress(SinkError):  # the others are finished as well
                self._finish(camera)

    def _triggers(self, prediction: Prediction) -> bool:
        event = prediction.event
        if event is None or event not in self._config.on:
            return False
        about = prediction.previous if event is Event.LEFT else prediction.settled
        return self._config.label in (None, about)

    def _begin_or_extend(self, camera: _Camera, prediction: Prediction) -> None:
        until = prediction.captured_at + self._config.after
        if camera.clip is None:
            camera.clip = self._begun(camera, prediction)
        camera.clip.until = min(until, camera.clip.started_at + self._config.longest)

    def _begun(self, camera: _Camera, prediction: Prediction) -> _Clip:
        assert prediction.event is not None
        of = f"{prediction.camera}/{prediction.region}/{prediction.frame}"
        digits = hashlib.blake2b(of.encode("utf-8", "replace"), digest_size=3).hexdigest()
        stem = stem_name(prediction.captured_at, prediction.event.value, digits)
        first = camera.shots[0]
        self._ring.reserve(0)
        film = FilmWriter(self._ring.partial_path(stem), self._config.film, self._config.fps, first.captured_at)
        clip = _Clip(film, stem, first.captured_at, prediction.captured_at)
        for shot in camera.shots:
            pixels = cv2.imdecode(np.frombuffer(shot.picture, np.uint8), cv2.IMREAD_COLOR)
            self._add(camera, clip, pixels, shot.captured_at)  # type: ignore[arg-type]
        return clip

    def _add(self, camera: _Camera, clip: _Clip, pixels: Pixels, at: float) -> None:
        try:
            clip.film.add(pixels, at)
            self._ring.reserve(clip.film.size_bytes())
        except SinkError:
            clip.film.abandon()
            camera.clip = None
            raise

    def _finish(self, camera: _Camera) -> None:
        clip, camera.clip = camera.clip, None
        if clip is not None:
            clip.film.finish()
            self._ring.adopt(clip.film.path, clip.stem)


def open_clips(uri: str) -> ClipSink:
    """``clips:DIR?before=3&after=3&fps=10&most_mb=1000&on=entered,changed&class=rose``; all options may be left out.

    Further options: ``longest=60`` seconds, ``width=640`` pixels, ``format=mp4`` or ``webm``.

    Raises:
        SinkError: not understood, or the folder cannot be written.
    """
    target, values = read_options(uri, _OPTIONS)
    renamed = {{"class": "label", "format": "film"}.get(key, key): value for key, value in values.items()}
    return ClipSink(Path(target), ClipConfig(**renamed))
