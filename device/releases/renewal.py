"""A service that is replaced together with its release: other options, or another edgegraft that runs it.

What the unit was before is written down first, and is put back by whoever finds that the new one was never confirmed:
this process, or after a power cut the next start. The unit that goes back after crashes stays the old one until then,
so that it works also where the new edgegraft does not even start.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from device import service
from device.contract import Contract, FileName
from device.releases import durable
from device.releases.base import HealthWindow
from device.releases.records import Step, load, save
from device.releases.recover import recover
from device.releases.refusals import Busy, NoWayBack, Unhealthy
from device.releases.store import Store
from device.releases.systemd import SystemdService
from device.releases.transaction import forget_bad
from device.service import Places
from device.service_manager import Manager
from device.service_unit import Unit, unit_text


class ServiceBefore(Contract, frozen=True):
    """A service's files before they were replaced.

    Attributes:
        to: the release that the new ones run, by the name of its folder.
        switched: it came with them, so that they are confirmed when it is; else another was not to be.
        unit: the unit's file.
        secrets: by file name.
    """

    to: str
    switched: bool
    unit: bytes
    secrets: dict[FileName, bytes] = msgspec.field(default_factory=dict)


class RenewedService(SystemdService):
    """The first start is that of the new unit; from the second on, after a failure, it is the one before again.

    Args:
        places: of the unit.
        manager: systemd.
        unit: the new one.
    """

    def __init__(self, places: Places, manager: Manager, unit: Unit) -> None:
        super().__init__(places, manager)
        self._store = Store(places.releases)
        self._unit = unit
        self._begun = False
        self._suspect = ""

    def restart(self) -> None:
        if not self._begun:
            self._begun = True
            self._replace()
        else:
            # On a full disk the next start does it.
            with suppress(OSError):
                put_back(self._places, self._manager)
        super().restart()

    def renew(self, release: str, window: HealthWindow) -> None:
        """The same release under the new unit.

        Raises:
            Busy: another installation is at work.
            NoSpace, ReadOnly: the disk takes no writes; the next start is as before.
            Unhealthy: it does not work so, and runs as before again.
            NoWayBack: and there was none before.
        """
        # Who starts without being locked out puts the unit before back.
        with self._store.locked(), durable.refusing(str(self._store.root)):
            self._renew(release, window)

    def _renew(self, release: str, window: HealthWindow) -> None:
        had_one = self._places.unit_file.exists()
        self.restart()
        verdict = self.watch(release, window)
        if verdict.healthy:
            return
        if not had_one:
            self.stop()
            raise NoWayBack(f"{self._unit.name}: {verdict.reason}; there was no service before, so it is stopped")
        self.restart()
        raise Unhealthy(f"{self._unit.name}: {verdict.reason}; the service runs as it did before")

    def confirm(self) -> None:
        """It works: what was before is forgotten."""
        # First of all, for that takes no room: the unit to go back with works as it was, too.
        with suppress(OSError):
            durable.remove(self._store.service_before_file)
            service.write_fallback(self._places)
        self._manager.reload()

    def acquit(self) -> None:
        """A bundle that failed together with a new unit may come again: nobody knows which of the two it was.

        Raises:
            Refusal: that cannot be written.
        """
        with self._store.locked(), durable.refusing(str(self._store.root)):
            forget_bad(self._store, self._suspect)

    def _replace(self) -> None:
        if self._places.unit_file.exists():
            self._keep()
        else:
            service.write_fallback(self._places)
        service.write(self._unit, self._places)
        self._manager.enable(self._unit.name)

    def _keep(self) -> None:
        """Write down what is there before it is replaced."""
        unit = self._places.unit_file.read_bytes()
        secrets = {path.name: path.read_bytes() for path in self._places.secrets.glob("*") if path.is_file()}
        # The link leads to it already where a switch is under way.
        current, switched = self._store.current(), self._store.journal() is not None
        if current is not None and switched and unit != unit_text(self._unit).encode():
            self._suspect = current.record.sha256
        before = ServiceBefore(current.folder.name if current else "", switched, unit, secrets)
        save(self._store.service_before_file, before, 0o600)


def settle(places: Places, manager: Manager) -> bool:
    """Resolve what an installation that was killed has left, unless one is at work.

    Returns:
        True where the service was put back as it was before, and is started so.

    Raises:
        Refusal: the disk takes no writes.
        DeviceError: what systemctl says.
    """
    store = Store(places.releases)
    if not store.service_before_file.exists():
        return False
    with suppress(Busy), store.locked(), durable.refusing(str(store.root)):
        recover(store)
        if put_back(places, manager):
            manager.restart(places.unit)
            return True
    return False


def put_back(places: Places, manager: Manager) -> bool:
    """Resolve a replacement that was cut short. Runs under the store's lock, after ``recover``.

    Returns:
        True where the unit before was put back, and systemd has read it; it is to be started.

    Raises:
        OSError: it cannot be written.
        DeviceError: what systemctl says.
    """
    store = Store(places.releases)
    if not store.service_before_file.exists():
        return False
    before = load(store.service_before_file, ServiceBefore)
    old = before if before is not None and not _confirmed(store, before) else None
    if old is not None:
        for path in places.secrets.glob("*"):
            if path.name not in old.secrets:
                durable.remove(path)
        for name, secret in old.secrets.items():
            durable.write_file(places.secrets / name, secret, 0o600)
        durable.write_file(places.unit_file, old.unit)
    else:
        service.write_fallback(places)
    manager.reload()
    durable.remove(store.service_before_file)
    return old is not None


def _confirmed(store: Store, before: ServiceBefore) -> bool:
    current, journal = store.current(), store.journal()
    decided = journal is None or journal.step is Step.CONFIRMED
    return before.switched and decided and current is not None and current.folder.name == before.to
