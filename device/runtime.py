"""Everything that runs: cameras kept going, the loop, sinks, and a thread that looks after all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from device.cameras.feed import Feed, FileFeed
from device.cameras.spec import CameraSpec
from device.cameras.supervisor import SupervisedFeed, Supervision
from device.classifier import Classifier
from device.closing import Closing
from device.crew import Crew
from device.decisions import MotionGate, PowerMode, Rules
from device.drift import DriftConfig, DriftWatch
from device.drift_baseline import baseline_file
from device.errors import CameraError
from device.health import HealthWatch
from device.intake import Intake
from device.loop import Loop, LoopStats, Stream
from device.monitor import Monitor
from device.sinks.base import Sink, SinkGone
from device.sinks.queued import Overflow, QueuedSink
from device.status import CameraStatus, ModelStatus, State, Status
from device.watchdog import Keeper

_TICK_S = 0.25
_REPORT_S = 5.0


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How a classification runs.

    Attributes:
        rules: how answers settle; None takes ``Rules()`` for live cameras, and each frame for itself of a file.
        most_fps: frames a second that are classified at most, per camera; None is no limit.
        motion: leave out frames in which nothing moves.
        supervision: when a camera is in trouble.
        drift: when a camera's pictures or answers are others than they were.
        drift_folder: keeps what each camera was like; None learns it anew at every start.
        disk: a folder on the disk that is written to.
    """

    rules: Rules | None = None
    most_fps: float | None = None
    motion: bool = False
    supervision: Supervision = field(default_factory=Supervision)
    drift: DriftConfig = field(default_factory=DriftConfig)
    drift_folder: Path | None = None
    disk: Path = Path()


class Runtime(Closing):
    """A classification that keeps running. A context manager; ``run`` in the thread that may use the model.

    Args:
        classifier: open; whoever opened it closes it.
        cameras: at least one.
        sinks: each with its queue; this closes them.
        config: see there.
        tell: takes lines for the log.
        keeper: tells the service manager that all is well; see ``device.watchdog``.
    """

    def __init__(
        self,
        classifier: Classifier,
        cameras: Sequence[CameraSpec],
        sinks: Sequence[QueuedSink] = (),
        config: RunConfig | None = None,
        tell: Callable[[str], None] = lambda line: None,
        keeper: Keeper | None = None,
    ) -> None:
        self._classifier = classifier
        self._config = config or RunConfig()
        self._sinks = sinks
        self._tell = tell
        self._keeper = keeper
        self._intake = Intake([camera.live for camera in cameras])
        self._feeds = [self._feed(lane, camera) for lane, camera in enumerate(cameras)]
        self._streams = [self._stream(camera) for camera in cameras]
        # Of files every frame counts and none hurries: copies of the model share them out.
        self._copies = [] if any(camera.live for camera in cameras) else classifier.copies()
        self._crew = Crew(self._copies) if self._copies else None
        self._loop = Loop(self._intake, self._streams, classifier, self._crew)
        self._drift = {camera.name: self._drift_watch(camera.name) for camera in cameras if camera.live}
        self._health = HealthWatch(self._config.disk)
        self._power = PowerMode()
        self._stats = LoopStats()
        self._started_at = time.time()
        self._stopping = threading.Event()
        self._housekeeper = threading.Thread(target=self._look_after, name="housekeeper", daemon=True)
        self.monitor = Monitor(self.status)

    def run(self, limit: int | None = None) -> LoopStats:
        """Classify until the sources end, the limit is reached, somebody interrupts, or ``stop`` is called.

        Raises:
            CameraError: a file failed, or every live camera hangs in its driver.
            EngineError: the model failed.
            SinkError: a sink failed of which nothing may be lost.
        """
        start = time.monotonic()
        for feed in self._feeds:
            feed.start()
        self._housekeeper.start()
        try:
            for result in self._loop.results(limit):
                self._stats.add(result.prediction)
                self.monitor.observe(result)
                if (watch := self._drift.get(result.prediction.camera)) is not None:
                    watch.see(result)
                for sink in self._sinks:
                    sink.offer(result)
        except (KeyboardInterrupt, SinkGone):
            pass  # a person, or the program behind the pipe, has seen enough; the summary still comes
        self._stats.seconds = time.monotonic() - start
        self._stats.dropped = sum(self._intake.dropped(lane) for lane in range(len(self._feeds)))
        self._stats.still = sum(stream.still for stream in self._streams)
        return self._stats

    @property
    def skipped(self) -> dict[str, str]:
        """Photos that could not be read, with the reason."""
        return {path: reason for feed in self._feeds for path, reason in feed.skipped.items()}

    def stop(self) -> None:
        """Make ``run`` return soon; from any thread or a signal handler's."""
        self._stopping.set()
        self._intake.close()

    def close(self) -> None:
        """Stop everything and deliver what the sinks still hold."""
        self.stop()
        if self._housekeeper.ident is not None:
            self._housekeeper.join()
        for feed in self._feeds:
            feed.stop()
        failed: Exception | None = None
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as err:  # the others are closed as well
                failed = failed or err
        if self._crew is not None:
            self._crew.close()
        for copy in self._copies:
            copy.close()
        if failed is not None:
            raise failed

    def status(self) -> Status:
        """The state of the whole, now."""
        cameras = tuple(self._camera_status(*each) for each in zip(self._feeds, self._streams, strict=True))
        sinks = tuple(sink.status() for sink in self._sinks)
        reasons = [f"camera {each.name}: {each.reason}" for each in cameras if each.state is State.DEGRADED]
        reasons += [f"sink {each.name}: {each.error}" for each in sinks if each.error]
        state = State.OK if self._stats.frames else State.STARTING
        return Status(
            state=State.DEGRADED if reasons else state,
            reasons=tuple(reasons),
            at=time.time(),
            started_at=self._started_at,
            progressed_at=self._loop.progressed_at,
            cameras=cameras,
            model=self._model_status(),
            sinks=sinks,
            health=self._health.now(),
            drift=tuple(watch.status() for watch in self._drift.values()),
        )

    def _feed(self, lane: int, camera: CameraSpec) -> Feed:
        if camera.live:
            return SupervisedFeed(camera, self._intake, lane, self._config.supervision, self._tell)
        return FileFeed(camera, self._intake, lane)

    def _stream(self, camera: CameraSpec) -> Stream:
        config = self._config
        # Photos of a folder have nothing to do with one another.
        rules = config.rules or (Rules() if camera.live else Rules.immediate())
        gate = MotionGate() if config.motion else None
        return Stream(camera, self._classifier, rules, config.most_fps, gate)

    def _drift_watch(self, camera: str) -> DriftWatch:
        manifest, folder = self._classifier.manifest, self._config.drift_folder
        statistics = manifest.training.statistics if manifest.training is not None else None
        state = None if folder is None else baseline_file(folder, camera, manifest)
        return DriftWatch(camera, manifest.preprocess, statistics, state, self._config.drift)

    def _look_after(self) -> None:
        reported, state = 0.0, State.STARTING
        while not self._stopping.wait(_TICK_S):
            now = time.monotonic()
            for feed in self._feeds:
                feed.check(now)
            if all(isinstance(feed, SupervisedFeed) and feed.hung for feed in self._feeds):
                self._intake.end(0, CameraError("no camera's driver answers any more; start edgegraft again"))
            status = self.status()
            if status.state is not state or now - reported >= _REPORT_S:
                reported, state = now, status.state
                self._report(status)
            if self._keeper is not None:
                self._keeper.feed(status)

    def _report(self, status: Status) -> None:
        for sink in self._sinks:
            sink.report(status)
        limit = self._power.limit(status.health.cpu_celsius)
        for stream in self._streams:
            stream.limit(limit)

    def _camera_status(self, feed: Feed, stream: Stream) -> CameraStatus:
        return msgspec.structs.replace(feed.status(), classified=stream.classified, still=stream.still)

    def _model_status(self) -> ModelStatus:
        manifest, variant = self._classifier.manifest, self._classifier.variant
        recent = self.monitor.recent()
        return ModelStatus(
            bundle=manifest.name,
            version=manifest.version,
            variant=variant.name,
            engine=variant.engine.value,
            accelerator=self._classifier.accelerator,
            threads=self._classifier.threads,
            classes=manifest.classes,
            infer_ms=self.monitor.infer_ms(),
            classified_per_second=_rate([past.captured_at for past in recent]),
        )


def run_cameras(
    classifier: Classifier,
    cameras: Sequence[CameraSpec],
    sinks: Sequence[Sink] = (),
    limit: int | None = None,
    config: RunConfig | None = None,
) -> LoopStats:
    """Classify until the sources end or the limit is reached, and give every result to every sink, for a program
    that wants no more than this.

    Args:
        classifier: open.
        cameras: at least one.
        sinks: open; closed at the end.
        limit: stop after so many results.
        config: see there.

    Raises:
        CameraError, EngineError, SinkError: see ``Runtime.run``.
    """
    queued = [QueuedSink(sink, type(sink).__name__, overflow(cameras), lambda line: None) for sink in sinks]
    with Runtime(classifier, cameras, queued, config) as runtime:
        return runtime.run(limit)


def overflow(cameras: Sequence[CameraSpec]) -> Overflow:
    """Live cameras wait for no sink; where all are files, nothing may be lost."""
    return Overflow.DROP_OLDEST if any(camera.live for camera in cameras) else Overflow.WAIT


def _rate(times: Sequence[float]) -> float:
    return round((len(times) - 1) / (times[-1] - times[0]), 2) if len(times) > 1 and times[-1] > times[0] else 0.0
