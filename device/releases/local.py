"""This machine's own installer."""

from __future__ import annotations

from collections.abc import Callable

from device.errors import DeviceError
from device.releases.base import Service
from device.releases.installer import Installer
from device.releases.store import Store
from device.service import Places
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
