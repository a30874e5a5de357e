"""Tests by several processes at a time (pytest-xdist's ``-n``): who runs what, and what they make only once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

# Files whose tests have nothing in common; of any other file one process runs all, for what its tests share.
APART = ("tests/test_all_backbones.py", "tests/faults/test_01_kill_points.py", "tests/faults/test_06_mutations.py")

# Half an hour of one process.
LONGEST = "test_virtual_board.py"


class ByFile(LoadScopeScheduling):
    """A process that has little left to do gets the next file, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file in APART else file


def long_ones_first(items: list[pytest.Item]) -> None:
    """Files with a long test before the others, so that none is begun when all else is done."""
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: (item.path.name != LONGEST, item.path not in long))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A path for all processes of this run: the first that needs it makes it, the others wait.

    Args:
        name: of the path, in a folder that is there.
        make: is called with the path, where nothing is yet.
    """
    base = factory.getbasetemp()
    common = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once" / name
    common.mkdir(parents=True, exist_ok=True)
    path, whole = common / name, common / "whole"
    with (common / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            # A process that failed at it has left a part.
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
            make(path)
            whole.touch()
    return path
