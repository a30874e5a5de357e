"""Collecting photos in a browser: ``edgegraft capture --web``."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from device.cameras.base import Frame
from device.capture import CaptureSession, NoPicture
from device.choosing import default_state_folder
from device.closing import Closing
from device.console import say
from device.errors import DeviceError
from device.web.address import WebConfig
from device.web.guard import refusal
from device.web.opening import open_web
from device.web.site import Site, as_json

# The session has one camera.
_CAMERA = "camera"
_UNDONE_MOST = 1000
_LOOK_S = 0.5


class _Save(msgspec.Struct, forbid_unknown_fields=True):
    label: str


class CaptureServer(Closing):
    """Serves a page with the camera's picture and a button per class, in a thread of its own.

    Bursts and timed series are driven by the page, picture by picture: they end when nobody looks any more.

    Args:
        session: whose camera is being read.
        config: where, and who may look.
        tell: takes a line for the log when a request failed for a reason of ours.
    """

    def __init__(
        self, session: CaptureSession, config: WebConfig, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._done: deque[tuple[str, Path]] = deque(maxlen=_UNDONE_MOST)
        routes = [
            Route("/api/session", self._about),
            Route("/api/save", self._save, methods=["POST"]),
            Route("/api/undo", self._undo, methods=["POST"]),
        ]
        self._site = Site(config, "capture.html", routes, lambda: (_CAMERA,), self._newest, tell)

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

    def close(self) -> None:
        """Cut every connection and end, within two seconds; twice is allowed."""
        self._site.close()

    def _newest(self, camera: str) -> Frame | None:
        return self._session.frame()

    async def _about(self, request: Request) -> Response:
        return await self._site.in_worker(lambda: as_json(self._told()))

    async def _save(self, request: Request) -> Response:
        try:
            label = msgspec.json.decode(await request.body(), type=_Save).label
        except (msgspec.DecodeError, RecursionError):
            return refusal(400, 'expected {"label": CLASS}')
        return await self._site.in_worker(lambda: self._saved(label))

    async def _undo(self, request: Request) -> Response:
        return await self._site.in_worker(self._undone)

    def _saved(self, label: str) -> Response:
        try:
            path = self._session.save(label)
        except NoPicture as err:
            return refusal(409, str(err))
        except DeviceError as err:
            return refusal(422, str(err))
        if path is not None:
            with self._lock:
                self._done.append((label, path))
        name = None if path is None else f"{label}/{path.name}"
        return as_json({**self._told(), "file": name, "duplicate": path is None})

    def _undone(self) -> Response:
        with self._lock:
            if not self._done:
                return refusal(409, "there is nothing to undo")
            label, path = self._done.pop()
        try:
            path.unlink(missing_ok=True)
        except OSError as err:
            return refusal(422, f"{label}/{path.name}: {err.strerror}; it was not removed")
        return as_json({**self._told(), "file": f"{label}/{path.name}"})

    def _told(self) -> dict[str, object]:
        session = self._session
        return {
            "counts": session.counts(),
            "duplicates": session.duplicates,
            "problem": session.problem,
            "over": session.over,
            "undo": len(self._done),
        }


def serve_capture(
    session: CaptureSession,
    address: str,
    token: str | None = None,
    state: Path | None = None,
    tell: Callable[[str], None] = say,
) -> None:
    """Serve the page until the session is over or the person interrupts.

    Args:
        session: whose camera is being read.
        address: ``HOST:PORT``.
        token: ``file:PATH`` or ``credential:NAME``; see ``open_web``.
        state: where a token is kept that was made; None is this user's own folder.
        tell: takes the line that says where the page is.

    Raises:
        DeviceError: the address or token is not understood, or somebody listens there.
    """
    opening = open_web(address, token, state or default_state_folder(), tell)
    with CaptureServer(session, opening.config, tell) as server:
        server.start()
        terminal = sys.stderr is not None and sys.stderr.isatty()
        tell(f"{opening.greeting(server.url, terminal)}; Ctrl-C stops")
        while not session.over:
            # In short turns: a signal is only seen between them.
            threading.Event().wait(_LOOK_S)
