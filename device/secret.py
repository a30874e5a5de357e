"""Passwords and keys: read from a file or a systemd credential, and never shown."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from device.errors import DeviceError

_MOST_BYTES = 4096
_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class Secret:
    """A password or key. ``repr``, ``str`` and formatting show where it comes from, not what it is.

    Attributes:
        value: the text.
        origin: ``file:PATH`` or ``credential:NAME``.
        warning: what is wrong with the way it is kept and what to do, else empty.
    """

    value: str = field(repr=False)
    origin: str
    warning: str = ""

    def __str__(self) -> str:
        return repr(self)


def read_secret(source: str, what: str) -> Secret:
    """Read one line of text.

    Args:
        source: ``file:PATH``, or ``credential:NAME`` of the systemd unit (``LoadCredential=NAME:FILE``).
        what: for messages, e.g. "the broker's password".

    Raises:
        DeviceError: another form, or no single line of text can be read. Nothing of the secret is in the message,
            nor of what came in place of ``file:PATH``: that may be the secret itself.
    """
    scheme, _, target = source.partition(":")
    if scheme == "file" and target:
        path = Path(target)
    elif scheme == "credential" and Path(target).name == target and target not in ("", ".", ".."):
        path = _credentials(target, what) / target
    else:
        raise DeviceError(f"{what} is expected as file:PATH or credential:NAME, not itself: others could see it")
    content, mode = _read(path, what)
    try:
        value = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise DeviceError(f"{path}: not text; expected {what} in one line") from None  # the cause would quote it
    if not value or not value.isprintable():
        found = "it is empty" if not value else "there are several lines or control characters"
        raise DeviceError(f"{path}: {found}; expected {what} in one line")
    warning = ""
    if scheme == "file" and mode & _OTHERS:
        warning = f"{path}: every user of this machine can get at {what} (mode {mode:04o}); chmod 600 {path}"
    return Secret(value, source, warning)


def _credentials(name: str, what: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise DeviceError(
            f"{what}: credential:{name} was not passed; add LoadCredential={name}:FILE to the systemd unit, "
            "or give file:PATH"
        )
    return Path(folder)


def _read(path: Path, what: str) -> tuple[bytes, int]:
    try:
        # A pipe without a writer would be waited for.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise DeviceError(f"{path}: not a file; expected {what} in one line")
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as err:
        reason = err.strerror if isinstance(err, OSError) else "no such name is possible"
        raise DeviceError(f"{path}: {reason}; expected {what} in one line, readable by this user") from err
    if len(content) > _MOST_BYTES:
        raise DeviceError(f"{path}: longer than {_MOST_BYTES} bytes; expected {what} in one line")
    return content, stat.S_IMODE(status.st_mode)
