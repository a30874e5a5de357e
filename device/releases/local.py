"""This machine's own installer and service."""

from __future__ import annotations

from collections.abc import Callable

from device.errors import DeviceError
from device.releases.base import Service
from device.releases.installer import Installer
from device.releases.renewal import settle
from device.releases.store import Store
from device.releases.systemd import SystemdService
from device.service import Places
from device.service_manager import Manager
from device.trust.choose import verifier_for


def installer_for(places: Places, service: Service, allow_unsigned: bool, tell: Callable[[str], None]) -> Installer:
    """An installer for a service of this machine.

    Raises:
        DeviceError: for want of rights.
    """
    store = Store(places.releases)
    try:
        with store.locked():
            pass
    except PermissionError as err:
        raise DeviceError(f"{err.filename}: {err.strerror}; run it with sudo, or use --user") from err
    return Installer(store, service, verifier_for(store.trust, allow_unsigned), tell=tell)


def service_for(places: Places) -> SystemdService:
    """The service of these places, as it was before where its replacement was cut short.

    Raises:
        DeviceError: none is installed, or systemd does not manage this machine.
    """
    if not places.unit_file.exists():
        raise DeviceError(
            f"{places.unit} is not installed here; edgegraft service install B.egb --camera 0 does that first"
        )
    manager = Manager(places.system)
    manager.require()
    settle(places, manager)
    return SystemdService(places, manager)
