"""A control group whose processes together may use so much memory and no more: a small board."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Version 2 of control groups, then version 1.
_PLACES = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.swap.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
)


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[Path]:
    """Make one; a process joins by writing its id into ``cgroup.procs`` of it. Skips where none can be made."""
    for parent, limit, swap in _PLACES:
        group = parent / f"edgegraft-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not (group / limit).is_file():
                continue
            (group / limit).write_text(str(limit_bytes))
            if (group / swap).is_file():
                (group / swap).write_text("0" if limit == "memory.max" else str(limit_bytes))
            yield group
            return
        finally:
            group.rmdir()
    pytest.skip("needs root and a memory control group (cgroup) that can be made here")
