"""From what a person asks of ``edgegraft run`` to a running classification."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from device.cameras import parse_camera
from device.cameras.spec import CameraSpec
from device.choosing import default_state_folder
from device.classifier import Classifier, open_classifier
from device.closing import Closing
from device.collection import Collection
from device.decisions import Rules, load_rules
from device.errors import CameraError
from device.loop import LoopStats
from device.runtime import RunConfig, Runtime, overflow
from device.secret import read_secret
from device.sinks import Sink, open_sink, sink_name
from device.sinks.queued import QueuedSink
from device.sinks.terminal import TerminalSink
from device.watchdog import Keeper, Notifier, watchdog_interval_s

# A picture is cropped before it is shrunk: what is asked of a camera must leave room for that.
_MARGIN = 2


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """What was asked for.

    Attributes:
        bundle: the ``.egb`` file.
        cameras: URIs.
        sinks: URIs.
        quiet: show no answers on standard output.
        web: address of the live view, or None.
        web_token: where its token is kept, ``file:PATH`` or ``credential:NAME``.
        web_names: names by which it may be called beside this machine's own.
        collect: where the live view saves frames under a class.
        rules: TOML file.
        motion, most_fps: see ``RunConfig``.
        limit: stop after so many predictions.
        variant: of the bundle, by name.
        threads: of the model's runtime.
    """

    bundle: Path
    cameras: tuple[str, ...]
    sinks: tuple[str, ...] = ()
    quiet: bool = False
    web: str | None = None
    web_token: str | None = None
    web_names: tuple[str, ...] = ()
    collect: Path | None = None
    rules: Path | None = None
    motion: bool = False
    most_fps: float | None = None
    limit: int | None = None
    variant: str | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; ``skipped`` are photos that could not be read, with the reason."""

    stats: LoopStats
    variant: str
    cameras: tuple[str, ...]
    skipped: dict[str, str]


def run_live(config: LiveConfig, tell: Callable[[str], None]) -> Outcome:
    """Run until the sources end, the limit is reached, or SIGINT or SIGTERM comes.

    Args:
        config: see there.
        tell: takes lines for the person or the log.

    Raises:
        DeviceError: what was asked for is not understood or cannot be opened, or the work failed.
    """
    config = replace(
        config,
        cameras=_spelled_out(config.cameras, "the camera's address"),
        sinks=_spelled_out(config.sinks, "the sink's address"),
    )
    with ExitStack() as stack:
        # First of all: it takes the service manager's socket away from the processes in which variants are tried.
        notifier = Notifier()
        state = default_state_folder()
        classifier = stack.enter_context(open_classifier(config.bundle, config.variant, config.threads, state, tell))
        cameras = _cameras(config.cameras, classifier)
        rules = load_rules(config.rules, classifier.manifest.classes) if config.rules else None
        stack.callback(notifier.stopping)
        keeper = Keeper(notifier, watchdog_interval_s())
        runtime = stack.enter_context(_runtime(config, cameras, classifier, rules, tell, keeper))
        stack.enter_context(_stopped_by_signal(runtime))
        if config.web is not None:
            stack.enter_context(_live_view(config, config.web, cameras, runtime, tell))
        _greet(classifier, cameras, tell)
        stats = runtime.run(config.limit)
    names = tuple(camera.name for camera in cameras)
    return Outcome(stats, classifier.variant.name, names, runtime.skipped)


def _spelled_out(uris: Sequence[str], what: str) -> tuple[str, ...]:
    """A URI that is secret stands in a file or a credential; ``edgegraft service`` puts it there."""
    return tuple(read_secret(uri, what).value if uri.startswith(("credential:", "file:")) else uri for uri in uris)


def _cameras(uris: Sequence[str], classifier: Classifier) -> list[CameraSpec]:
    spec = classifier.manifest.preprocess
    cameras = [parse_camera(uri, (_MARGIN * spec.height, _MARGIN * spec.width)) for uri in uris]
    names = [camera.name for camera in cameras]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CameraError(f"two cameras are called '{twice[0]}'; tell them apart with ?name=")
    return cameras


def _runtime(
    config: LiveConfig,
    cameras: Sequence[CameraSpec],
    classifier: Classifier,
    rules: Rules | None,
    tell: Callable[[str], None],
    keeper: Keeper,
) -> Runtime:
    with ExitStack() as opened:  # what was opened is closed again when the next does not open
        sinks = []
        for name, sink in _sinks(config):
            queued = QueuedSink(sink, name, overflow(cameras), tell)
            opened.callback(queued.close)
            sinks.append(queued)
        opened.pop_all()
    state = default_state_folder()
    settings = RunConfig(
        rules=rules,
        most_fps=config.most_fps,
        motion=config.motion,
        drift_folder=state / "drift",
        disk=_written_to(config) or state,
    )
    return Runtime(classifier, cameras, sinks, settings, tell, keeper)


def _written_to(config: LiveConfig) -> Path | None:
    # Pictures fill a disk long before the rest does.
    for uri in config.sinks:
        scheme, _, rest = uri.partition(":")
        if scheme in ("snapshots", "clips"):
            return Path(rest.partition("?")[0])
    return config.collect


def _live_view(
    config: LiveConfig, address: str, cameras: Sequence[CameraSpec], runtime: Runtime, tell: Callable[[str], None]
) -> Closing:
    # Starlette and uvicorn take memory and a third of a second: only whoever asks for them has them.
    from device.web.app import WebServer
    from device.web.opening import open_web

    opening = open_web(address, config.web_token, default_state_folder(), tell, config.web_names)
    collection = Collection(config.collect) if config.collect else None
    regions = {camera.name: camera.regions for camera in cameras}
    server = WebServer(runtime.monitor, opening.config, collection, regions, tell)
    server.start()
    tell(opening.greeting(server.url, sys.stderr is not None and sys.stderr.isatty()))
    return server


def _sinks(config: LiveConfig) -> Iterator[tuple[str, Sink]]:
    for uri in config.sinks:
        yield sink_name(uri), open_sink(uri)
    # A person at a terminal sees the answers whatever else takes them; a log or a program only where nothing does.
    watched = sys.stdout is not None and sys.stdout.isatty()
    if not config.quiet and "jsonl:-" not in config.sinks and (watched or not (config.sinks or config.web)):
        yield "terminal", TerminalSink()


def _greet(classifier: Classifier, cameras: Sequence[CameraSpec], tell: Callable[[str], None]) -> None:
    names = ", ".join(camera.name for camera in cameras)
    tell(f"{classifier.manifest.name}, variant {classifier.variant.name}, camera {names}; Ctrl-C stops")


@contextmanager
def _stopped_by_signal(runtime: Runtime) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the program's own business there
        return

    def stop(number: int, frame: FrameType | None) -> None:
        runtime.stop()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
