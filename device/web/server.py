"""A web server in one thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from device.closing import Closing
from device.errors import DeviceError
from device.web.address import WebAddress
from device.web.limits import KEEP_ALIVE_S, MOST_HEADER_BYTES, SEND_BUFFER_BYTES, LimitedProtocol

_BACKLOG = 64
_STOP_S = 2.0


class ServerThread(Closing):
    """Serves an ASGI application until it is closed.

    Args:
        app: what to serve.
        address: where.
        cleanup: called in the server's thread at the end.
    """

    def __init__(self, app: ASGIApp, address: WebAddress, cleanup: Callable[[], Awaitable[None]]) -> None:
        self._address = address
        self._cleanup = cleanup
        self._socket: socket.socket | None = None
        self._port = address.port
        self._loop: asyncio.AbstractEventLoop | None = None
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=LimitedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens; before ``start`` what was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return self._address.url(self.port)

    def start(self) -> None:
        """Listen; requests are answered from now on.

        Raises:
            DeviceError: the address is not this machine's, or somebody listens there.
        """
        self._socket = _listen(self._address)
        self._port = self._socket.getsockname()[1]
        self._thread.start()

    def close(self) -> None:
        """Cut every connection and end the thread, within two seconds; twice is allowed."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it ended meanwhile
                loop.call_soon_threadsafe(self._end)
        if self._thread.is_alive():
            self._thread.join(_STOP_S)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        assert self._socket is not None
        self._loop = asyncio.get_running_loop()
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._loop = None
            self._cut()
            await self._cleanup()

    def _end(self) -> None:
        self._server.should_exit = True
        self._cut()

    def _cut(self) -> None:
        # Viewers of something live lose nothing, and streams have no end to wait for.
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()


def _listen(address: WebAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener: socket.socket | None = None
    try:
        found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if family == socket.AF_INET6 and address.host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(found[0][4])
        listener.listen(_BACKLOG)
    except OSError as err:
        if listener is not None:
            listener.close()
        raise DeviceError(
            f"the live view cannot listen on {address.host} port {address.port}: {err.strerror or err}; "
            "name another port, or end what listens there"
        ) from err
    return listener
