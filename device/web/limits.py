"""What one connection may cost: uvicorn's protocol with a limit on how many there are and how slow they may be."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 160
MOST_HEADER_BYTES = 16 * 1024
KEEP_ALIVE_S = 15
# Of the kernel, for each viewer: what a slow one has not taken yet is at most so old.
SEND_BUFFER_BYTES = 128 * 1024

_REQUEST_WITHIN_S = 10.0
_STALLED_S = 20.0


class LimitedProtocol(H11Protocol):
    """One connection. It is dropped when there are too many, when a request does not arrive in time (slow loris), and
    when its reader takes nothing for a while.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._watch_request()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._watch_request()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        self._forget_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._forget_request()
        self._forget_stall()
        super().connection_lost(exc)

    def _watch_request(self) -> None:
        # The first byte starts the time; more bytes do not prolong it.
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_request()
        elif self._request_timer is None and not self.transport.is_closing():
            self._request_timer = self.loop.call_later(_REQUEST_WITHIN_S, self._expire)

    def _expire(self) -> None:
        self._request_timer = None
        # Answered meanwhile: uvicorn's keep-alive time runs.
        if self.cycle is None or not self.cycle.response_complete or self.timeout_keep_alive_task is None:
            self.transport.abort()

    def _forget_request(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _forget_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
