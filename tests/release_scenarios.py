"""``python -m tests.release_scenarios SCENARIO STORE BUNDLE``: one change of a store, for a test that kills it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from device.releases.installer import Asked
from device.releases.recover import recover
from device.releases.refusals import NoWayBack, Unhealthy
from device.releases.store import Store
from tests.kill_points import KillPoint, run_killed
from tests.releases import BROKEN, WINDOW, installer, require_good

# Made when the imports are over; what comes after it is counted.
MARKER = "scenario-begins"
SCENARIOS = ("first", "update", "unhealthy", "rollback", "first-unhealthy")


def play(scenario: str, root: Path, bundle: Path) -> None:
    """Do it."""
    verdicts = (BROKEN,) if scenario.endswith("unhealthy") else ()
    at_work = installer(root, *verdicts)
    (root.parent / MARKER).mkdir()
    try:
        if scenario == "rollback":
            at_work.rollback(WINDOW)
        else:
            at_work.install(Asked(bundle, window=WINDOW))
    except (Unhealthy, NoWayBack):
        assert verdicts


def killed_and_recovered(scenario: str, before: Path, new: Path, may_be: Sequence[str], point: KillPoint) -> None:
    """Play it in a process that is killed there, start again, and require a good state.

    Args:
        scenario: to play.
        before: the board, which is copied.
        new: the bundle of version 3.0.0.
        may_be: versions that may be current afterwards; "" for none.
        point: where it is killed.
    """
    folder = before.parent / f"{point.call}-{point.turn}"
    store = Store(fresh_copy(before, folder))
    run_killed("tests.release_scenarios", (scenario, store.root, new), point)
    marks_before = store.high_water()
    with store.locked():
        recover(store)
        recover(store)  # killed in the middle of a recovery, it starts again
    if store.current() is None:
        assert "" in may_be
    else:
        require_good(store, *may_be)
    assert store.high_water().items() >= marks_before.items()
    again = installer(store.root).install(Asked(new, again=True, window=WINDOW))
    assert again.version == "3.0.0"
    require_good(store, "3.0.0")
    shutil.rmtree(folder)


def fresh_copy(before: Path, folder: Path) -> Path:
    """A board of its own; where its store is."""
    shutil.copytree(before, folder, symlinks=True)
    return folder / "store"


if __name__ == "__main__":
    play(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
