"""What the service manager is told: that it runs, how it goes, that it still works; sd_notify(3) without a library."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Protocol

from device.status import State, Status

# While systemd waits, it is told often; it asks for at least twice in its interval.
# Often: a health window sees in it that answers keep coming.
_TELLINGS_PER_INTERVAL = 12
_USUAL_INTERVAL_S = 20.0


class Notifier:
    """Speaks to the service manager, where there is one; else every call does nothing. Thread-safe.

    Args:
        environ: where ``NOTIFY_SOCKET`` stands: a path, or ``@`` and an abstract name. It is taken out of it, so that a
            child process cannot speak for this one.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        name = (os.environ if environ is None else environ).pop("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if name else None
        if self._socket is not None:
            self._socket.setblocking(False)  # a manager that does not read must not stop the work

    def ready(self) -> bool:
        """Start-up is over."""
        return self._send("READY=1")

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send(f"STATUS={' '.join(text.split())}")

    def alive(self) -> bool:
        """Feed the watchdog."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """The end has begun and is meant."""
        return self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        """False where nobody took it."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError:
            return False  # the manager restarts, or its queue is full: the next message comes soon
        return True


def watchdog_interval_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Within how many seconds the service manager wants to hear ``alive``; None where it does not ask this process."""
    try:
        interval = int(environ.get("WATCHDOG_USEC", "0"))
        process = int(environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return interval / 1e6 if interval > 0 and process == os.getpid() else None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the work stood when it was last seen to go on.

    Attributes:
        at: ``Status.progressed_at``: when a frame had been dealt with.
        frames: that had come from all cameras.
    """

    at: float | None = None
    frames: int = 0


def progress_of(status: Status) -> Progress:
    """Where the work stands."""
    return Progress(status.progressed_at, sum(camera.frames for camera in status.cameras))


def deserves(status: Status, before: Progress) -> bool:
    """Whether the watchdog is to be fed: a frame was dealt with since, or none can be and a camera says why.

    Not fed is a classification to which frames have come and that is done with none of them: its model hangs, also
    when the camera has gone meanwhile. A state that is OK without anything being done is no reason either.

    Args:
        status: now.
        before: the last time that the work had gone on; see ``Keeper``.
    """
    now = progress_of(status)
    if now.at != before.at:  # not later: the clock may have been set back
        return True
    return now.frames == before.frames and any(camera.state is State.DEGRADED for camera in status.cameras)


class Speaker(Protocol):
    """What a ``Keeper`` uses of a ``Notifier``."""

    def ready(self) -> bool: ...

    def status(self, text: str) -> bool: ...

    def alive(self) -> bool: ...


class Keeper:
    """Tells the service manager that all is well for as long as that is true; of one thread.

    Args:
        notifier: how to reach it.
        interval_s: from ``watchdog_interval_s``.
    """

    def __init__(self, notifier: Speaker, interval_s: float | None = None) -> None:
        self._notifier = notifier
        self._every_s = (interval_s or _USUAL_INTERVAL_S) / _TELLINGS_PER_INTERVAL
        self._done = Progress()
        self._ready = False
        self._fed_at = float("-inf")
        self._text = ""

    def feed(self, status: Status) -> bool:
        """Look at the state, several times a second; True where it deserves that the watchdog is fed.

        The first time it also says that the start is over: a board whose camera is away has started.
        """
        if not deserves(status, self._done):
            return False
        self._done = progress_of(status)
        if not self._ready:
            self._ready = True
            self._notifier.ready()
        now = time.monotonic()
        if now - self._fed_at >= self._every_s:
            self._fed_at = now
            self._notifier.alive()
        self._tell(status)
        return True

    def _tell(self, status: Status) -> None:
        text = f"{status.state.value}: {'; '.join(status.reasons)}" if status.reasons else status.state.value
        if text != self._text:
            self._text = text
            self._notifier.status(text)
