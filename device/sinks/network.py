"""What network sinks' URIs have in common: no secret stands in them, and none of them is repeated in a message."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from device.console import say
from device.errors import DeviceError, SinkError
from device.secret import Secret, read_secret
from device.sinks.options import Option

_LOCAL_DOMAINS = (".local", ".lan", ".internal", ".home.arpa", ".localhost")


@dataclass(frozen=True, slots=True)
class Host:
    """Where to connect. ``name`` is all of the URI that may be shown: a path or query can be as good as a password."""

    scheme: str
    host: str
    port: int
    name: str


def split_uri(uri: str, ports: Mapping[str, int]) -> tuple[Host, SplitResult]:
    """Take a URI apart.

    Args:
        ports: of each scheme that is allowed, the default port.

    Raises:
        SinkError: no host, an impossible port or host name, blanks, or a password.
    """
    scheme = uri.partition(":")[0].lower()
    expected = f"expected {scheme}://HOST[:PORT]/..."
    if any(char.isspace() or not char.isprintable() for char in uri):
        raise SinkError(f"{scheme}: the address holds blanks or control characters; write them as %20 and so on")
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port or ports[scheme]
        host.encode("idna")
    except ValueError:  # without the cause: it may quote a password
        raise SinkError(f"{scheme}: the address is not valid; {expected}") from None
    if not host:
        raise SinkError(f"{scheme}: the address has no host; {expected}")
    if parts.password is not None:
        raise SinkError(
            f"{scheme}://{host}: the address holds a password, which every user of this machine could read in the "
            "list of processes; put it into a file and see device/README.md for the option that names the file"
        )
    shown = f"[{host}]" if ":" in host else host
    name = f"{scheme}://{shown}" + ("" if port == ports[scheme] else f":{port}")
    return Host(scheme, host, port, name), parts


def read_options(name: str, query: str, known: Mapping[str, Option]) -> dict[str, Any]:
    """The options that were given; an unknown one or a wrong value is told without the value.

    Raises:
        SinkError: see above.
    """
    values: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise SinkError(f"{name}: there is an unknown option; known are: {', '.join(known)}")
        try:
            values[key] = known[key].read(text)
        except (KeyError, ValueError):  # without the cause: it quotes the value
            raise SinkError(f"{name}: the value of '{key}' is not {known[key].expected}") from None
    return values


def text_option(expected: str) -> Option:
    """Any text but an empty one."""
    return Option(_not_empty, expected)


def secret_option() -> Option:
    """Where a secret is kept: ``file:PATH`` or ``credential:NAME``."""
    return text_option("file:PATH or credential:NAME")


def take_secret(source: str, name: str, what: str) -> Secret:
    """``read_secret`` for a sink; a warning goes to standard error.

    Raises:
        SinkError: it cannot be read.
    """
    try:
        secret = read_secret(source, what)
    except DeviceError as err:
        raise SinkError(f"{name}: {err}") from err
    if secret.warning:
        say(f"{name}: {secret.warning}")
    return secret


def existing_file(text: str, name: str, what: str) -> Path:
    """A file that is there.

    Raises:
        SinkError: it is not.
    """
    path = Path(text)
    if not path.is_file():
        raise SinkError(f"{name}: {what}: no file at {path}")
    return path


def stays_near(host: str) -> bool:
    """Whether a host is this machine or, by its address or name, in a private network."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "." not in host or host.lower().endswith(_LOCAL_DOMAINS)
    return address.is_private or address.is_loopback or address.is_link_local


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError
    return text
