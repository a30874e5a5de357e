"""What the live view and the capture page share: pages, log-in, pictures, the guard and the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from device.cameras.base import Frame
from device.closing import Closing
from device.web.address import WebConfig
from device.web.auth import Attempts, Authority
from device.web.guard import Guard, refusal
from device.web.login import Login
from device.web.pages import Page
from device.web.pictures import Pictures
from device.web.server import ServerThread

MOST_VIEWERS = 64
_PICTURE_WAIT_S = 10.0
# One encodes pictures, another asks for the status or writes a photo.
_WORKERS = 2

_T = TypeVar("_T")


def as_json(content: object, status: int = 200) -> Response:
    """Anything msgspec can encode."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


class Site(Closing):
    """A guarded page with pictures, served in a thread of its own.

    Args:
        config: where, and who may look.
        page: file name of the page.
        routes: of the page's API.
        cameras: names of the cameras there are now.
        newest: the newest frame of one of them, or None before the first.
        tell: takes a line for the log when a request failed for a reason of ours.
    """

    def __init__(
        self,
        config: WebConfig,
        page: str,
        routes: Sequence[BaseRoute],
        cameras: Callable[[], Sequence[str]],
        newest: Callable[[str], Frame | None],
        tell: Callable[[str], None],
    ) -> None:
        self._page, self._login_page = Page(page), Page("login.html")
        self._cameras = cameras
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="web-worker")
        self.pictures = Pictures(newest, self._workers)
        authority, attempts = Authority(config.token), Attempts()
        self._login = Login(authority, attempts)
        own = [
            Route("/", self._front),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/api/picture.jpg", self._picture),
        ]
        handlers = {404: _not_found, 405: _not_allowed}
        app = Starlette(routes=[*own, *routes], exception_handlers=handlers)
        app.router.redirect_slashes = False
        self._guard = Guard(app, config, authority, attempts, lambda: self._server.port, tell)
        self._server = ServerThread(self._guard, config.address, self.pictures.close)

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return self._server.url

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def start(self) -> None:
        """Listen.

        Raises:
            DeviceError: the address is not this machine's, or somebody listens there.
        """
        self._server.start()

    def close(self) -> None:
        """Cut every connection and end, within two seconds; twice is allowed."""
        self._server.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def in_worker(self, work: Callable[[], _T]) -> _T:
        """Do what may take a while without keeping other requests waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    def camera(self, request: Request) -> str | None:
        """The camera that a request is about: the one it names, or the first; None when there is no such."""
        names = self._cameras()
        asked = request.query_params.get("camera")
        if asked is None:
            return names[0] if names else None
        return asked if asked in names else None

    async def _front(self, request: Request) -> Response:
        return (self._page if request.state.authorised else self._login_page).response()

    async def _log_in(self, request: Request) -> Response:
        return await self._login(request, self._guard.cookie)

    async def _picture(self, request: Request) -> Response:
        camera = self.camera(request)
        if camera is None:
            return no_camera()
        if self.pictures.waiting() >= MOST_VIEWERS:
            return too_many_viewers()
        known = request.query_params.get("not", "0")
        number = int(known) if known.isdecimal() and len(known) < 20 else 0
        picture = await self.pictures.other_than(camera, number, _PICTURE_WAIT_S)
        if picture is None:
            return Response(status_code=204)
        headers = {"edgegraft-picture": str(picture.number), "edgegraft-age-ms": str(picture.age_ms())}
        return Response(picture.jpeg, media_type="image/jpeg", headers=headers)


def no_camera() -> Response:
    """The request names none of the cameras."""
    return refusal(404, "there is no such camera; /api/status names those there are")


def too_many_viewers() -> Response:
    """There is a limit, so that viewers cannot take the board from its work."""
    return refusal(503, f"{MOST_VIEWERS} viewers are the most there may be", retry_after="10")


async def _not_found(request: Request, error: Exception) -> Response:
    return refusal(404, "there is nothing here")


async def _not_allowed(request: Request, error: Exception) -> Response:
    return refusal(405, f"{request.method} is not what this is for")
