"""Where a channel lies and how a board shows who it is there."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from device.errors import DeviceError, UsageError
from device.secret import Secret, read_secret

_PORTS = {"http": 80, "https": 443}
_RATE = re.compile(r"(\d{1,9})([kM]?)")
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000}


@dataclass(frozen=True, slots=True)
class Source:
    """A channel on a web server.

    Attributes:
        url: of its folder, with a slash at the end.
        name: scheme, host and port: all that may be shown, for a path can be as good as a password.
        login: ``user:password`` for HTTP's basic authentication, or a bearer token; None for neither.
        ca: a file of CA certificates that the server's is checked against; None for the system's.
    """

    url: str = field(repr=False)
    name: str
    login: Secret | None = None
    ca: Path | None = None

    def authorization(self) -> dict[str, str]:
        """The header, empty without a login."""
        if self.login is None:
            return {}
        if ":" in self.login.value:
            return {"Authorization": f"Basic {base64.b64encode(self.login.value.encode()).decode()}"}
        return {"Authorization": f"Bearer {self.login.value}"}


def parse_source(url: str, login: str | None = None, ca: Path | None = None) -> Source:
    """``http(s)://HOST[:PORT]/FOLDER`` to a ``Source``.

    Args:
        login: ``file:PATH`` or ``credential:NAME``, see ``Source.login``.

    Raises:
        UsageError: not understood, or a password in it.
        DeviceError: the login cannot be read.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # without the cause: it may quote a password
        raise UsageError("--channel: not an address; expected https://HOST/FOLDER") from None
    if parts.scheme not in _PORTS or not host or not url.isprintable() or " " in url:
        raise UsageError("--channel: not an address; expected https://HOST/FOLDER")
    if "@" in parts.netloc:
        raise UsageError(
            f"--channel {parts.scheme}://{host}: the address holds a password or user, which every user of this "
            "machine could read in the list of processes; put user:password into a file: --login file:PATH"
        )
    if parts.query or parts.fragment:
        raise UsageError(f"--channel {parts.scheme}://{host}: expected a folder, without '?' and '#'")
    shown = f"[{host}]" if ":" in host else host
    name = f"{parts.scheme}://{shown}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")
    if login and parts.scheme == "http":
        raise UsageError(f"--login: {name} is not encrypted, and the login could be read on its way; use https://")
    if ca is not None and not ca.is_file():
        raise DeviceError(f"{ca}: no such file; expected certificates in PEM")
    folder = parts._replace(path=parts.path.rstrip("/") + "/").geturl()
    return Source(folder, name, read_secret(login, "the channel's login") if login else None, ca)


def parse_rate(text: str) -> int:
    """``200k`` or ``2M`` to bytes a second.

    Raises:
        UsageError: not understood.
    """
    found = _RATE.fullmatch(text)
    if not found or int(found[1]) == 0:
        raise UsageError(f"--rate {text}: expected bytes a second such as 50000, 200k or 2M")
    return int(found[1]) * _UNITS[found[2]]
