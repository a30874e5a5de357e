"""Faults 1, 2 and 3: killed at every step of an installation, a switch, a confirmation and a roll-back."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from device.releases.installer import Asked
from device.releases.recover import recover
from device.releases.store import Store
from tests.kill_points import KillPoint, kill_points, require_strace, run_killed
from tests.release_scenarios import MARKER
from tests.releases import WINDOW, installer, require_good, version_of

# At least so many kills each: 200 and more together.
_LEAST = {"first": 40, "update": 50, "unhealthy": 50, "rollback": 25, "first-unhealthy": 40}
_MAY_BE = {
    "first": ("", "3.0.0"),
    "update": ("2.0.0", "3.0.0"),
    "unhealthy": ("2.0.0",),
    "rollback": ("1.0.0", "2.0.0"),
    "first-unhealthy": ("",),
}

pytestmark = pytest.mark.long


@pytest.mark.parametrize("scenario", _LEAST)
def test_killed_at_every_step(scenario: str, colour_bundle: Path, tmp_path: Path) -> None:
    require_strace()
    bundles = {v: version_of(colour_bundle, v, tmp_path / f"{v}.egb") for v in ("1.0.0", "2.0.0", "3.0.0")}
    before = tmp_path / "before"
    before.mkdir()
    if not scenario.startswith("first"):
        for version in ("1.0.0", "2.0.0"):
            installer(before / "store").install(Asked(bundles[version], window=WINDOW))
    place = _fresh(before, tmp_path / "traced")
    points = kill_points("tests.release_scenarios", (scenario, place, bundles["3.0.0"]), MARKER, tmp_path / "trace")
    assert len(points) >= _LEAST[scenario]

    def kill(point: KillPoint) -> None:
        folder = tmp_path / f"{point.call}-{point.turn}"
        store = Store(_fresh(before, folder))
        run_killed("tests.release_scenarios", (scenario, store.root, bundles["3.0.0"]), point)
        _require_recovers(store, scenario, bundles["3.0.0"])
        shutil.rmtree(folder)

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(kill, points))


def _fresh(before: Path, folder: Path) -> Path:
    shutil.copytree(before, folder, symlinks=True)
    return folder / "store"


def _require_recovers(store: Store, scenario: str, new: Path) -> None:
    marks_before = store.high_water()
    with store.locked():
        recover(store)
        recover(store)  # killed in the middle of a recovery, it starts again
    if store.current() is None:
        assert "" in _MAY_BE[scenario]
    else:
        require_good(store, *_MAY_BE[scenario])
    assert store.high_water().items() >= marks_before.items()
    again = installer(store.root).install(Asked(new, again=True, window=WINDOW))
    assert again.version == "3.0.0"
    require_good(store, "3.0.0")
