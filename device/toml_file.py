"""A TOML file that somebody wrote by hand: read up to a limit, and refused with its name and what was expected."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from device.errors import DeviceError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path, what: str, limit_bytes: int, error: type[DeviceError]) -> tuple[str, dict[str, Any]]:
    """Its text and its table.

    Args:
        path: of the file.
        what: it holds, for messages, e.g. "rules".
        limit_bytes: more is not read.
        error: to raise.

    Raises:
        DeviceError: of that kind, where it cannot be read, is larger, or is no TOML.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(limit_bytes + 1)
    except OSError as err:
        raise error(f"{path}: {err.strerror}; expected a TOML file of {what}") from err
    if len(data) > limit_bytes:
        raise error(f"{path}: more than {limit_bytes} bytes; expected a small TOML file of {what}")
    try:
        text = data.decode()
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as err:
        # It names line and column.
        raise error(f"{path}: not TOML: {err}") from err
