"""Where the live view listens, and by which names it may be called."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field

from device.errors import DeviceError

LEAST_TOKEN = 16

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]/@\s]*)):(?P<port>\d{1,5})")
_HOST_HEADER = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::\d{1,5})?")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A place to listen. Port 0 takes a free one.

    Attributes:
        host: an IP address without brackets, or a name of this machine.
        port: 0 to 65535.
    """

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. Of a name nothing is known, except of localhost."""
        return self.host == "localhost" or _is_loopback(self.host)

    def url(self, port: int) -> str:
        """What to open in a browser; an address that stands for all is told by this machine's name."""
        host = self.host
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


@dataclass(frozen=True, slots=True)
class WebConfig:
    """How the live view is served.

    Attributes:
        address: where it listens.
        token: what a viewer must know; None where only this machine can reach the address.
        names: names it is called by beside this machine's own, e.g. of a proxy before it.

    Raises:
        DeviceError: the address can be reached from elsewhere and there is no token, or the token is short.
    """

    address: WebAddress
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.token is None and not self.address.loopback:
            raise DeviceError(
                f"the live view on {self.address.host} can be reached from other machines and needs a token; "
                "give --web-token file:PATH, or listen on 127.0.0.1"
            )
        if self.token is not None and len(self.token) < LEAST_TOKEN:
            raise DeviceError(
                f"the live view's token has {len(self.token)} characters, expected at least {LEAST_TOKEN}; "
                "make one: openssl rand -hex 16"
            )


def parse_address(text: str) -> WebAddress:
    """``127.0.0.1:8080``, ``[::]:8080``, ``0.0.0.0:8080``, ``localhost:8080``, or ``:8080`` on loopback.

    Raises:
        DeviceError: it is none of these.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise DeviceError(f"{text!r} is no address; expected HOST:PORT, e.g. 127.0.0.1:8080 or 0.0.0.0:8080")
    host = match["six"] or match["host"] or _LOOPBACK
    if match["six"] and not _is_ip(host):
        raise DeviceError(f"{text!r}: {host} is no IPv6 address; expected e.g. [::]:8080")
    return WebAddress(host, int(match["port"]))


def is_called_rightly(header: str, config: WebConfig) -> bool:
    """Whether a Host header names this server.

    A page elsewhere can have its own name resolve to this machine and then read what it serves (DNS rebinding); the
    browser still sends that name. An IP address cannot be made to resolve to another.
    """
    match = _HOST_HEADER.fullmatch(header)
    if match is None:
        return False
    host = (match["six"] or match["host"]).lower().rstrip(".")
    if host == "localhost" or host in {name.lower() for name in config.names}:
        return True
    if config.address.loopback:
        return _is_loopback(host)
    own = socket.gethostname().lower()
    return _is_ip(host) or host in (own, f"{own}.local", config.address.host.lower())


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return _is_ip(host) and ipaddress.ip_address(host).is_loopback
