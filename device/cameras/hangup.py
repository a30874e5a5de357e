"""Ending a connection under a thread that waits on it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

from device.closing import Closing

_DESCRIPTORS = Path("/proc/self/fd")


class Hangup(Closing):
    """A second descriptor of a connected socket, so that the socket can be shut down safely from any thread.

    The owner may close its own descriptor meanwhile: the number of this one is not given to anything else.

    Args:
        descriptor: the socket's; it is duplicated.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """For ``select``; -1 when closed."""
        return self._socket.fileno()

    def peer_port(self) -> int | None:
        """Port of the other side; None of what is not connected by TCP."""
        try:
            peer = self._socket.getpeername()
        except OSError:
            return None
        return peer[1] if isinstance(peer, tuple) and len(peer) >= 2 else None

    def cut(self) -> None:
        """Shut the connection down: whoever waits for its data gets its end at once."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            self._socket.close()


def socket_inodes() -> dict[str, int]:
    """The open sockets of this process, by inode, with a descriptor of each; empty where there is no ``/proc``."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for entry in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - a descriptor that is gone meanwhile is no error
            with contextlib.suppress(OSError):
                target = str((_DESCRIPTORS / entry).readlink())
                if target.startswith("socket:"):
                    found[target] = int(entry)
    return found


def hangups_since(before: dict[str, int], port: int) -> list[Hangup]:
    """Handles on the connections to ``port`` that were not yet among ``socket_inodes()``.

    For a library that opens connections and does not show them.
    """
    found = []
    for inode, descriptor in socket_inodes().items():
        if inode in before:
            continue
        with contextlib.suppress(OSError):  # closed meanwhile, or no socket any more
            hangup = Hangup(descriptor)
            if hangup.peer_port() == port:
                found.append(hangup)
            else:
                hangup.close()
    return found
