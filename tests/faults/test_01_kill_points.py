"""Faults 1, 2 and 3: killed at every step of an installation, a switch, a confirmation and a roll-back."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from device import service
from device.releases.installer import Asked
from tests.kill_points import kill_points, require_strace
from tests.release_scenarios import MARKER, OLD, fresh_copy, killed_and_recovered, places_of, unit_of
from tests.releases import WINDOW, installer, version_of

# At least so many kills each: 200 and more together.
_LEAST = {
    "first": 40,
    "update": 50,
    "unhealthy": 50,
    "rollback": 25,
    "first-unhealthy": 40,
    "renewed": 70,
    "renewed-unhealthy": 70,
    "renewed-same": 15,
    "renewed-same-unhealthy": 20,
}
_MAY_BE = {
    "first": ("", "3.0.0"),
    "update": ("2.0.0", "3.0.0"),
    "unhealthy": ("2.0.0",),
    "rollback": ("1.0.0", "2.0.0"),
    "first-unhealthy": ("",),
    "renewed": ("2.0.0", "3.0.0"),
    "renewed-unhealthy": ("2.0.0",),
    "renewed-same": ("2.0.0",),
    "renewed-same-unhealthy": ("2.0.0",),
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
    if scenario.startswith("renewed"):
        service.write(unit_of(OLD), places_of(before / "store"))
        service.write_fallback(places_of(before / "store"))
    place = fresh_copy(before, tmp_path / "traced")
    points = kill_points("tests.release_scenarios", (scenario, place, bundles["3.0.0"]), MARKER, tmp_path / "trace")
    print(f"{scenario}: {len(points)} kills")
    assert len(points) >= _LEAST[scenario]
    kill = partial(killed_and_recovered, scenario, before, bundles["3.0.0"], _MAY_BE[scenario])
    # Processes: a thread that starts a program would for a moment hold the other's lock as well.
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        list(pool.map(kill, points))
