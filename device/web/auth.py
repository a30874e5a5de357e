"""Who may look: whoever knows the token, the session that a browser gets for it, and a limit on guessing."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict, deque
from contextlib import suppress

_SESSION_S = 30 * 24 * 3600
_FAILURES = 10
_FAILURES_WITHIN_S = 60.0
_MOST_ADDRESSES = 1024


class Authority:
    """Knows the token and hands out sessions. Sessions are signed, not stored: they outlive a restart, and a new
    token ends them all.

    Args:
        token: None lets everybody in.
    """

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else _digest(token)
        self._key = b"" if token is None else hmac.digest(token.encode(), b"edgegraft live view session", "sha256")

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return self._token is None

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes as long for any that is not."""
        return self._token is None or hmac.compare_digest(self._token, _digest(token))

    def issue(self) -> tuple[str, int]:
        """A session for a browser's cookie, and the seconds it lasts."""
        body = f"{int(time.time()) + _SESSION_S}.{secrets.token_hex(8)}"
        return f"{body}.{self._sign(body)}", _SESSION_S

    def accepts(self, session: str) -> bool:
        """Whether it was issued for this token and has not run out."""
        if self._token is None:
            return True
        body, _, signature = session.rpartition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            return False
        return int(body.partition(".")[0]) > time.time()

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), "sha256").hexdigest()


class Attempts:
    """Counts wrong tokens by where they come from: ten a minute, then none is looked at."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def blocked(self, address: str) -> bool:
        """Whether too many failed lately."""
        failures = self._failures.get(_network(address))
        if failures is None:
            return False
        while failures and failures[0] < time.monotonic() - _FAILURES_WITHIN_S:
            failures.popleft()
        return len(failures) >= _FAILURES

    def failed(self, address: str) -> None:
        """Count one."""
        network = _network(address)
        self._failures.setdefault(network, deque(maxlen=_FAILURES)).append(time.monotonic())
        self._failures.move_to_end(network)
        if len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)


def _network(address: str) -> str:
    # One household has a whole /64 of IPv6.
    with suppress(ValueError):
        ip = ipaddress.ip_address(address.partition("%")[0])
        if ip.version == 6 and not ip.ipv4_mapped:
            return str(ipaddress.ip_network((ip, 64), strict=False))
    return address


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
