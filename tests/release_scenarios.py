"""``python -m tests.release_scenarios SCENARIO STORE BUNDLE``: one change of a store, for a test that kills it."""

from __future__ import annotations

import sys
from pathlib import Path

from device.releases.installer import Asked
from device.releases.refusals import NoWayBack, Unhealthy
from tests.releases import BROKEN, WINDOW, installer

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


if __name__ == "__main__":
    play(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
