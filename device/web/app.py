"""The live view: a page and an API over the monitor of a running classification."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from device.cameras.base import Frame
from device.cameras.spec import Region
from device.closing import Closing
from device.collection import Collection
from device.decisions import crop
from device.errors import DeviceError
from device.monitor import HISTORY_S, Monitor
from device.status import State, Status
from device.web.address import WebConfig
from device.web.feed import Feed, Listener
from device.web.guard import refusal
from device.web.history import STEP_S, History
from device.web.metrics import CONTENT_TYPE, render_metrics
from device.web.site import MOST_VIEWERS, Site, as_json, no_camera, too_many_viewers

# Many viewers, one status.
_STATUS_S = 0.5
# A frame dealt with within so long is a loop that makes progress.
_ALIVE_S = 10.0
_MOST_PER_SECOND = 1000.0


class SaveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /api/save`` takes.

    Attributes:
        label: the class.
        camera: None is the first.
        region: save this part only; empty is the whole picture.
        picture: number of the picture that was looked at; None is the newest frame.
    """

    label: str
    camera: str | None = None
    region: str = ""
    picture: int | None = None


class WebServer(Closing):
    """Serves the live view in a thread of its own.

    Args:
        monitor: of the running classification.
        config: where, and who may look.
        collection: where frames are saved under a class; None leaves that out.
        regions: parts of each camera's picture, by its name.
        tell: takes a line for the log when a request failed for a reason of ours.
    """

    def __init__(
        self,
        monitor: Monitor,
        config: WebConfig,
        collection: Collection | None = None,
        regions: Mapping[str, tuple[Region, ...]] | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._monitor = monitor
        self._collection = collection
        self._regions = regions or {}
        self._feed = Feed(monitor)
        self._history = History(monitor)
        self._status_at, self._cached = -_STATUS_S, monitor.status()
        routes = [
            Route("/healthz", self._alive),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics),
            Route("/api/status", self._api_status),
            Route("/api/view", self._view),
            Route("/api/predictions", self._predictions),
            Route("/api/history", self._api_history),
            Route("/api/save", self._save, methods=["POST"]),
        ]
        self._site = Site(config, "live.html", routes, self._cameras, self._newest, tell)

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return self._site.url

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._site.port

    def start(self) -> None:
        """Listen.

        Raises:
            DeviceError: the address is not this machine's, or somebody listens there.
        """
        self._site.start()

    def stop(self) -> None:
        """Cut every viewer and end, within two seconds; twice is allowed."""
        self._site.close()

    def close(self) -> None:
        """``stop``."""
        self.stop()

    @property
    def pictures_encoded(self) -> int:
        """How many pictures were encoded so far, for all viewers together."""
        return self._site.pictures.encoded

    def _cameras(self) -> list[str]:
        return [camera.name for camera in self._cached.cameras]

    def _newest(self, camera: str) -> Frame | None:
        frames = [result.frame for result in self._monitor.latest(camera) if result.frame is not None]
        return max(frames, key=lambda frame: frame.captured_monotonic, default=None)

    async def _status(self) -> Status:
        if time.monotonic() - self._status_at >= _STATUS_S:
            self._status_at = time.monotonic()
            self._cached = await self._site.in_worker(self._monitor.status)
        return self._cached

    async def _alive(self, request: Request) -> Response:
        # A camera that is away is no reason to start again: the state says so honestly. Silence is.
        status = await self._status()
        moving = status.state is not State.OK or _progresses(status)
        return Response("alive\n" if moving else "no progress\n", 200 if moving else 503, media_type="text/plain")

    async def _ready(self, request: Request) -> Response:
        status = await self._status()
        ready = status.state is State.OK and _progresses(status)
        return Response("ready\n" if ready else "not ready\n", 200 if ready else 503, media_type="text/plain")

    async def _metrics(self, request: Request) -> Response:
        status = await self._status()
        latest = [result.prediction for name in self._cameras() for result in self._monitor.latest(name)]
        return Response(render_metrics(status, latest), headers={"content-type": CONTENT_TYPE})

    async def _api_status(self, request: Request) -> Response:
        return as_json(await self._status())

    async def _view(self, request: Request) -> Response:
        counts = await self._site.in_worker(self._collection.counts) if self._collection is not None else None
        regions = {
            name: [{field: getattr(each, field) for field in Region.__slots__} for each in parts]
            for name, parts in self._regions.items()
        }
        return as_json({"regions": regions, "saved": counts})

    async def _predictions(self, request: Request) -> Response:
        camera = self._site.camera(request) if "camera" in request.query_params else ""
        if camera is None:
            return no_camera()
        if len(self._feed) >= MOST_VIEWERS:
            return too_many_viewers()
        per_second = _number(request.query_params.get("per_second", "0"), _MOST_PER_SECOND)
        if per_second is None:
            return refusal(400, f"per_second: expected a number from 0 (every one) to {_MOST_PER_SECOND:g}")
        return _Events(self._feed, self._feed.listen(camera, per_second))

    async def _api_history(self, request: Request) -> Response:
        camera = self._site.camera(request)
        if camera is None:
            return no_camera()
        seconds = _number(request.query_params.get("seconds", str(HISTORY_S)), HISTORY_S)
        if seconds is None:
            return refusal(400, f"seconds: expected a number from 0 to {HISTORY_S:g}")
        steps = await self._site.in_worker(lambda: self._history.steps(camera, seconds))
        return as_json({"camera": camera, "at": time.time(), "step_s": STEP_S, "steps": steps})

    async def _save(self, request: Request) -> Response:
        collection = self._collection
        if collection is None:
            return refusal(409, "no folder to save to was named when this was started")
        try:
            asked = msgspec.json.decode(await request.body(), type=SaveRequest)
        except (msgspec.DecodeError, RecursionError) as err:
            return refusal(400, f'expected {{"label": CLASS, "camera": NAME, "picture": NUMBER}}: {err}')
        camera = asked.camera if asked.camera is not None else next(iter(self._cameras()), None)
        if camera is None or camera not in self._cameras():
            return no_camera()
        frame = self._site.pictures.frame(camera, asked.picture)
        if frame is None:
            return refusal(409, "that picture is gone; try again")
        part = next((each for each in self._regions.get(camera, ()) if each.name == asked.region), None)
        if asked.region and part is None:
            return refusal(404, "there is no such region")
        try:
            return await self._site.in_worker(lambda: _saved(collection, _cropped(frame, part), asked.label))
        except DeviceError as err:
            return refusal(422, str(err))


class _Events(StreamingResponse):
    def __init__(self, feed: Feed, listener: Listener) -> None:
        super().__init__(listener.chunks(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._feed, self._listener = feed, listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._listener)


def _saved(collection: Collection, frame: Frame, label: str) -> Response:
    path = collection.save(frame, label)
    name = None if path is None else f"{path.parent.name}/{path.name}"
    return as_json({"file": name, "duplicate": path is None, "saved": collection.counts()})


def _cropped(frame: Frame, part: Region | None) -> Frame:
    return frame if part is None else replace(frame, pixels=crop(frame.pixels, part))


def _progresses(status: Status) -> bool:
    return status.progressed_at is not None and status.at - status.progressed_at < _ALIVE_S


def _number(text: str, most: float) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= most else None
