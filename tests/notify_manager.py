"""The service manager's end of NOTIFY_SOCKET: a real socket that keeps what it is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType


class NotifyManager:
    """Listens as systemd does.

    Args:
        address: a path, or ``@`` and an abstract name, as in ``NOTIFY_SOCKET``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def __enter__(self) -> NotifyManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def next(self, timeout_s: float) -> str | None:
        """The next message, or None when none came in time."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(65536).decode()
        except (TimeoutError, BlockingIOError):
            return None

    def all(self) -> list[str]:
        """What has come and was not yet taken."""
        self._socket.setblocking(False)
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return messages

    def environment(self, watchdog_s: float) -> dict[str, str]:
        """What a service's process finds around it."""
        return {**os.environ, "NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def watch(
        self, command: Sequence[str | Path], watchdog_s: float, starts: int, limit_s: float
    ) -> list[tuple[str, ...]]:
        """Do with a service what systemd does: after READY, a silence longer than the interval ends it with SIGABRT,
        and it is started again.

        Returns:
            for every start what the service said; the last is ended when it has been fed twice.
        """
        said: list[tuple[str, ...]] = []
        deadline = time.monotonic() + limit_s
        while len(said) < starts:
            child = subprocess.Popen(command, env=self.environment(watchdog_s))
            try:
                said.append(self._attend(watchdog_s, deadline, last=len(said) == starts - 1))
            finally:
                child.send_signal(signal.SIGABRT)
                child.wait()
        return said

    def _attend(self, watchdog_s: float, deadline: float, last: bool) -> tuple[str, ...]:
        messages: list[str] = []
        while True:
            started = "READY=1" in messages
            message = self.next(watchdog_s if started else max(0.0, deadline - time.monotonic()))
            assert started or message is not None, f"not started within the time limit; it said {messages}"
            if message is None:
                return tuple(messages)
            messages.append(message)
            if last and messages.count("WATCHDOG=1") >= 2:
                return tuple(messages)
            assert time.monotonic() < deadline, f"still there at the time limit; it said {messages}"
