"""The service that runs the releases, as systemd starts and watches it."""

from __future__ import annotations

import time

from device.errors import DeviceError
from device.releases.base import HealthWindow, Verdict
from device.service import Places
from device.service_manager import Manager, ServiceStatus

_LOOK_EVERY_S = 0.25


class SystemdService:
    """A unit of systemd; see ``device.releases.base.Service``.

    The unit says that it is ready once a frame was answered, or its camera is away and it said so; a bad model is told
    from a camera that is unplugged. Its watchdog is fed only when the work goes on, so that a fed watchdog in the
    window is a fresh answer.

    Args:
        places: of the unit.
        manager: systemd.
    """

    def __init__(self, places: Places, manager: Manager) -> None:
        self._places = places
        self._manager = manager

    def restart(self) -> None:
        self._manager.restart(self._places.unit)

    def stop(self) -> None:
        self._manager.halt(self._places.unit)

    def watch(self, release: str, window: HealthWindow) -> Verdict:
        first = self._status()
        deadline = time.monotonic() + window.start_limit_s
        status = first
        while status.active != "active":
            if (trouble := _trouble(status, first)) or time.monotonic() > deadline:
                return Verdict(False, trouble or f"it was not ready within {window.start_limit_s:.0f} s")
            time.sleep(_LOOK_EVERY_S)
            status = self._status()
        fed_at = status.fed_at
        end = time.monotonic() + window.length_s
        while time.monotonic() < end:
            time.sleep(_LOOK_EVERY_S)
            status = self._status()
            if trouble := _trouble(status, first):
                return Verdict(False, trouble)
        if window.length_s and status.fed_at == fed_at:
            return Verdict(False, f"no fresh answer within {window.length_s:.0f} s")
        return Verdict(True, status.text)

    def _status(self) -> ServiceStatus:
        return self._manager.status(self._places.unit, installed=True)


def _trouble(status: ServiceStatus, first: ServiceStatus) -> str:
    if status.restarts > first.restarts:
        return f"it ended and was started again ({status.result or 'no reason given'})"
    # Between the old one's end and the new one's start of a restart it is inactive, too.
    if status.active in ("failed", "inactive") and not status.pending:
        return f"it ended ({status.result or status.detail})"
    return ""


def service_for(places: Places) -> SystemdService:
    """The service of these places.

    Raises:
        DeviceError: none is installed, or systemd does not manage this machine.
    """
    if not places.unit_file.exists():
        raise DeviceError(
            f"{places.unit} is not installed here; edgegraft service install B.egb --camera 0 does that first"
        )
    manager = Manager(places.system)
    manager.require()
    return SystemdService(places, manager)
