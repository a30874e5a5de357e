"""Keeps what native libraries write to file descriptor 2 away from the user.

TensorFlow, LiteRT and FFmpeg write their notes straight to the descriptor, past ``sys.stderr``; only moving the
descriptor itself catches them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def native_stderr_to(path: Path) -> Iterator[None]:
    """Send descriptor 2 to a file (appended to) while ``sys.stderr`` goes on reaching the user.

    Process-wide: not to be entered from two threads. Nesting is fine.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    python_stderr = sys.stderr
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 2)
    os.close(log)
    visible = None
    if _writes_to_descriptor_2(python_stderr):
        visible = os.fdopen(os.dup(saved), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        sys.stderr = visible
    try:
        yield
    finally:
        sys.stderr = python_stderr
        os.dup2(saved, 2)
        os.close(saved)
        if visible is not None:
            visible.close()


def native_stderr_dropped() -> contextlib.AbstractContextManager[None]:
    """``native_stderr_to`` the null device."""
    return native_stderr_to(Path(os.devnull))


def _writes_to_descriptor_2(stream: object) -> bool:
    # Under pytest or in a notebook sys.stderr is something else already.
    try:
        return stream.fileno() == 2  # type: ignore[attr-defined,no-any-return]
    except (AttributeError, OSError, ValueError):
        return False
