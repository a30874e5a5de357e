"""``python -m tests.release_scenarios SCENARIO STORE BUNDLE``: one change of a store, for a test that kills it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from device.releases.base import HealthWindow, Verdict
from device.releases.installer import Asked
from device.releases.recover import recover
from device.releases.refusals import NoWayBack, Unhealthy
from device.releases.renewal import RenewedService, put_back
from device.releases.store import Store
from device.service import Places
from device.service_manager import Manager, ServiceStatus
from device.service_needs import Needs
from device.service_unit import Unit
from tests.kill_points import KillPoint, run_killed
from tests.releases import BROKEN, WINDOW, installer, require_good

# Made when the imports are over; what comes after it is counted.
MARKER = "scenario-begins"
OLD, NEW = "/opt/old/edgegraft", "/opt/new/edgegraft"


class StorePlaces(Places):
    """The store lies beside the service's files."""

    __slots__ = ()

    @property
    def releases(self) -> Path:
        return self.root / "store"


class SilentManager(Manager):
    """A systemd that has nothing to say."""

    def enable(self, unit: str, kind: str = "service") -> None: ...

    def reload(self) -> None: ...

    def restart(self, unit: str, kind: str = "service") -> None: ...

    def halt(self, unit: str) -> None: ...

    def status(self, unit: str, installed: bool) -> ServiceStatus:
        return ServiceStatus(unit, installed)


class ToldService(RenewedService):
    """Is healthy when it is told so."""

    def __init__(self, root: Path, *verdicts: Verdict) -> None:
        super().__init__(places_of(root), SilentManager(), unit_of(NEW))
        self._verdicts = list(verdicts)

    def watch(self, release: str, window: HealthWindow) -> Verdict:
        return self._verdicts.pop(0) if self._verdicts else Verdict(healthy=True)


def places_of(root: Path) -> Places:
    """Of the service whose store is there."""
    return StorePlaces("edgegraft", root=root.parent)


def unit_of(program: str) -> Unit:
    """A service that this program runs, with a secret."""
    return Unit("edgegraft", [program, "run"], Needs(private={"camera-1": f"a secret of {program}"}))


def service_text(root: Path) -> str:
    """All that makes the service."""
    places = places_of(root)
    return places.unit_file.read_text() + (places.secrets / "camera-1").read_text()


def play(scenario: str, root: Path, bundle: Path) -> None:
    """Do it."""
    verdicts = (BROKEN,) if scenario.endswith("unhealthy") else ()
    at_work = installer(root, *verdicts)
    (root.parent / MARKER).mkdir()
    try:
        if scenario.startswith("renewed"):
            renew(scenario, root, bundle, ToldService(root, *verdicts))
        elif scenario == "rollback":
            at_work.rollback(WINDOW)
        else:
            at_work.install(Asked(bundle, window=WINDOW))
    except (Unhealthy, NoWayBack):
        assert verdicts


def renew(scenario: str, root: Path, bundle: Path, told: ToldService) -> None:
    """As ``edgegraft service install`` does, with a new release or with the one at work."""
    if "same" in scenario:
        current = Store(root).current()
        assert current is not None
        told.renew(current.folder.name, WINDOW)
    else:
        installer(root, service=told).install(Asked(bundle, window=WINDOW))
    told.confirm()


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
        if scenario.startswith("renewed"):
            put_back(places_of(store.root), SilentManager())
            require_one_service(scenario, store)
    if store.current() is None:
        assert "" in may_be
    else:
        require_good(store, *may_be)
    assert store.high_water().items() >= marks_before.items()
    again = installer(store.root).install(Asked(new, again=True, window=WINDOW))
    assert again.version == "3.0.0"
    require_good(store, "3.0.0")
    shutil.rmtree(folder)


def require_one_service(scenario: str, store: Store) -> None:
    """It is the old one or the new one, whole, and where a release came with it the one that goes with that."""
    text, current = service_text(store.root), store.current()
    assert current is not None
    assert not store.service_before_file.exists()
    assert text.count(OLD) in (0, 2)
    assert text.count(NEW) == 2 - text.count(OLD)
    if "same" not in scenario:
        assert (OLD in text) == (current.record.version == "2.0.0")
    if scenario.endswith("unhealthy"):
        assert OLD in text


def fresh_copy(before: Path, folder: Path) -> Path:
    """A board of its own; where its store is."""
    shutil.copytree(before, folder, symlinks=True)
    return folder / "store"


if __name__ == "__main__":
    play(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
