"""Camera addresses: without their secrets for people and logs, and taken apart for connecting."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from device.errors import CameraError

_HIDDEN = "***"
# One slash too few is a slip of the finger, and no reason to show a password.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:/+"
# What stands before the last '@' of the authority.
_USER_INFO = re.compile(rf"({_SCHEME})[^/?#\s]*@")
# A password with '/', '?' or '#' that is not percent-encoded: what looks like 'host:port' has a port of other than
# digits, and an '@' follows.
_BROKEN_USER_INFO = re.compile(rf"({_SCHEME})[^/?#\s:@\[]*:(?!\d*(?:[/?#\s]|$))\S*@")
_SECRET_NAME = r"(?:pass|pwd|psw|secret|token|key|auth|sig|cred|usr|user|login|session|sid|pw\b|pin\b)"
# Also inside paths, as some cameras want them: /user=admin_password=x_channel=1.sdp
_SECRET = re.compile(
    rf"([\w.%\-\[\]]*{_SECRET_NAME}[\w.%\-\[\]]*\s*=\s*)(\"[^\"]*\"|'[^']*'|[^&;\s#/]*)", re.IGNORECASE
)
_ENCODED_ADDRESS = re.compile(r"=([^&;\s]*(?:%40|%2540)[^&;\s]*)", re.IGNORECASE)
_UNSEEN = re.compile(r"[\x00-\x20\x7f]")


def redacted(uri: str) -> str:
    """A camera URI as it may be shown: no user, no password, no value of an option that sounds like a secret.

    It works on any text with addresses in it, a GStreamer pipeline for one. Where it is in doubt, it removes too much.
    """
    shown = _BROKEN_USER_INFO.sub(r"\1", _USER_INFO.sub(r"\1", uri))
    shown = _SECRET.sub(rf"\1{_HIDDEN}", shown)
    return _ENCODED_ADDRESS.sub(f"={_HIDDEN}", shown)


@dataclass(frozen=True, slots=True)
class Address:
    """A network camera's address.

    Attributes:
        scheme: lower case.
        host: name, IPv4, or IPv6 without brackets.
        port: TCP.
        target: path and query, from the first '/'.
        user: decoded; empty where none is given.
        password: decoded.
        name: ``redacted``; the only form that may be shown.
    """

    scheme: str
    host: str
    port: int
    target: str
    name: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def authority(self) -> str:
        """Host, and port where it is not the scheme's own, as in a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def without_credentials(self) -> str:
        """The URI as a server may be sent it. It can still hold secrets in its query."""
        return f"{self.scheme}://{self.authority}{self.target}"


_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}


def parse_address(uri: str, schemes: Collection[str]) -> Address:
    """Take a URI apart.

    Raises:
        CameraError: another scheme, no host, no valid port, or characters that no URI has.
    """
    name = redacted(_UNSEEN.sub("", uri))
    expected = f"expected {' or '.join(f'{scheme}://HOST/PATH' for scheme in sorted(schemes))}"
    if _UNSEEN.search(uri):
        raise CameraError(f"{name}: the address holds blanks or control characters; write them as %20 and so on")
    try:
        parts = urlsplit(uri)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError as err:
        # Without the cause, which would quote the password.
        hint = "write '@', ':', '/', '?' and '#' in a password as %40, %3A, %2F, %3F and %23"
        raise CameraError(f"{name}: not a valid address ({type(err).__name__}); {hint}") from None
    if scheme not in schemes or not host:
        raise CameraError(f"{name}: not a camera's address; {expected}")
    return Address(
        scheme=scheme,
        host=host,
        port=port or _PORTS[scheme],
        target=_target(parts),
        name=name,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
