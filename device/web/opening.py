"""From ``--web`` and ``--web-token`` to a configuration, and what the person at the terminal is told."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device.errors import DeviceError
from device.secret import Secret, read_secret
from device.web.address import WebConfig, parse_address

_TOKEN_FILE = "web-token"
_WHAT = "the live view's token"


@dataclass(frozen=True, slots=True)
class Opening:
    """How to serve, and where the token came from.

    Attributes:
        config: address and token.
        secret: the token, or None where none is needed.
        fresh: it was made just now.
    """

    config: WebConfig
    secret: Secret | None = None
    fresh: bool = False

    def greeting(self, url: str, terminal: bool) -> str:
        """A line that says where the page is and how to get in.

        A token that was made just now is shown once, to a person at a terminal, as a link that logs in. Where nobody
        sits the line goes to a log: then it only says where the token is kept.

        Args:
            url: of the running server.
            terminal: a person reads this, and no log keeps it.
        """
        if self.secret is None:
            return f"live view: {url}"
        kept = f"the token is kept in {self.secret.origin}"
        if self.fresh and terminal:
            return f"live view: {url}#token={self.secret.value} (shown this once; {kept})"
        return f"live view: {url} ({kept})"


def open_web(
    address: str, token: str | None, state: Path, tell: Callable[[str], None], names: tuple[str, ...] = ()
) -> Opening:
    """Understand what was asked for, and read or make the token.

    Args:
        address: ``HOST:PORT``; see ``parse_address``.
        token: ``file:PATH`` or ``credential:NAME``; None needs none on loopback, and else keeps one in ``state``.
        state: a folder of this user's; made when there is a token to keep.
        tell: takes a warning when others can read the token.
        names: see ``WebConfig``.

    Raises:
        DeviceError: the address is none, or the token cannot be read or kept, or is short.
    """
    place = parse_address(address)
    if token is None and place.loopback:
        return Opening(WebConfig(place, names=names))
    fresh = token is None and _make(state / _TOKEN_FILE)
    secret = read_secret(token or f"file:{state / _TOKEN_FILE}", _WHAT)
    if secret.warning:
        tell(secret.warning)
    return Opening(WebConfig(place, secret.value, names), secret, fresh)


def _make(path: Path) -> bool:
    """Write a token that only this user can read, unless one is there; whether it was written."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            return False
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
            # Fails where one is: of two that start at once, both use the same.
            os.link(part, path)
        finally:
            part.unlink()
    except FileExistsError:
        return False
    except OSError as err:
        raise DeviceError(f"{path}: {err.strerror}; {_WHAT} cannot be kept, give --web-token file:PATH") from err
    return True
