"""Questions to an RTSP server beside FFmpeg's, which says no more than that it failed."""

from __future__ import annotations

import re
import socket
import ssl
import time

from device.cameras.address import Address
from device.errors import CameraError

_STATUS = re.compile(rb"RTSP/\d\.\d (\d{3})")
_MOST_ANSWER = 64 * 1024


def rtsp_status(address: Address, method: str, timeout_s: float) -> int:
    """Ask something about a stream, without credentials.

    Args:
        address: the stream's.
        method: ``OPTIONS`` finds out whether a server is there and makes it start nothing; ``DESCRIBE`` whether the
            stream is.
        timeout_s: to connect, and to get the answer.

    Returns:
        The status of the answer: 200, 401 where credentials are asked for, and so on.

    Raises:
        CameraError: the server is not reached, is silent, or talks another protocol.
    """
    try:
        with socket.create_connection((address.host, address.port), timeout_s) as plain:
            if address.scheme != "rtsps":
                return _ask(plain, address, method, timeout_s)
            with _unverified().wrap_socket(plain, server_hostname=address.host) as secure:
                return _ask(secure, address, method, timeout_s)
    except TimeoutError as err:
        raise CameraError(f"{address.name}: no answer within {timeout_s:g} s; is the camera switched on?") from err
    except OSError as err:
        raise CameraError(f"{address.name}: not reached ({err.strerror or err}); check host and port") from err


def _ask(connection: socket.socket, address: Address, method: str, timeout_s: float) -> int:
    question = f"{method} {address.without_credentials} RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    connection.sendall(question.encode())
    answer = b""
    deadline = time.monotonic() + timeout_s
    while b"\n" not in answer and len(answer) < _MOST_ANSWER:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        received = connection.recv(4096)
        if not received:
            break
        answer += received
    status = _STATUS.match(answer)
    if status is None:
        raise CameraError(f"{address.name}: the server does not talk RTSP; check the port (usual: 554, 8554)")
    return int(status[1])


def _unverified() -> ssl.SSLContext:
    # As FFmpeg does it: cameras' certificates are their own work. It hides the stream from listeners, not from a
    # machine in between.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
