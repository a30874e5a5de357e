"""Where a board keeps what a workstation put there, over SSH or by its card: both find what the other has left."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256

HOME = "/var/lib/edgegraft-flash"
RUNTIMES = "/opt/edgegraft-runtimes"
# What a system has that cloud-init prepares; a board that is looked at over SSH says it itself.
SYSTEM_PYTHON = "/usr/bin/python3"


def runtime_key(program: str, python: str, digests: Iterable[tuple[str, str]]) -> str:
    """Names a runtime: the same interpreter and the same wheels make the same one.

    Args:
        program: the board's interpreter, an absolute path.
        python: its major and minor version.
        digests: name and sha256 of each wheel, edgegraft's own among them.
    """
    return sha256(json.dumps([program, python, sorted(digests)]).encode()).hexdigest()[:16]
