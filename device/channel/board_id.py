"""Who a board is to its channel: steady, different from board to board, and not its machine id.

machine-id(5): the machine id must not leave the machine; an application derives an id of its own from it. This is what
``sd_id128_get_machine_app_specific(3)`` computes: HMAC-SHA256 with the machine id as key over the application's id,
the first 128 bits marked as a version 4 UUID. ``systemd-id128 machine-id --app-specific=ID`` prints the same.
"""

from __future__ import annotations

import hmac
import os
import uuid
from pathlib import Path

# Drawn once for edgegraft; another application gets other ids from the same machine.
APPLICATION = uuid.UUID("1afee26c95e84ebc82f7087af4c118fd")
MACHINE_ID = Path("/etc/machine-id")


def board_id(folder: Path, machine_id: Path = MACHINE_ID) -> str:
    """32 hexadecimal digits.

    Args:
        folder: where an id is kept that had to be drawn, for want of a machine id.
        machine_id: the file.

    Raises:
        OSError: there is no machine id, and none can be kept.
    """
    try:
        machine = uuid.UUID(machine_id.read_text(encoding="ascii").strip())
    except (OSError, ValueError):  # none, or "uninitialized" in an image that was never started
        return _kept(folder / "board-id")
    return derive(machine)


def derive(machine: uuid.UUID) -> str:
    """The id of the machine with this machine id."""
    digest = hmac.new(machine.bytes, APPLICATION.bytes, "sha256").digest()
    return uuid.UUID(bytes=digest[:16], version=4).hex


def _kept(path: Path) -> str:
    try:
        return uuid.UUID(path.read_text(encoding="ascii").strip()).hex
    except (OSError, ValueError):
        fresh = uuid.uuid4().hex
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.new")
    with partial.open("w", encoding="ascii") as stream:
        stream.write(fresh + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    return fresh
