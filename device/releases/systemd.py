"""The service that runs the releases, as systemd starts and watches it."""

from __future__ import annotations

import time

from device.releases.base import HealthWindow, Verdict
from device.service import Places
from device.service_manager import Manager, ServiceStatus

_LOOK_EVERY_S = 0.25
# A look is a process: four a second would take a small board as much as its classification does.
_WATCH_EVERY_S = 1.0


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
        self._left = ""

    def restart(self) -> None:
        self._left = self._status().invocation
        self._manager.restart(self._places.unit)

    def stop(self) -> None:
        self._manager.halt(self._places.unit)

    def watch(self, release: str, window: HealthWindow) -> Verdict:
        first = status = self._status()
        deadline = time.monotonic() + window.start_limit_s
        # A busy board takes its time to end the one before, which is active until then.
        while status.active != "active" or status.invocation == self._left:
            if (trouble := _trouble(status, first)) or time.monotonic() > deadline:
                return Verdict(False, trouble or f"it was not ready within {window.start_limit_s:.0f} s")
            time.sleep(_LOOK_EVERY_S)
            status = self._status()
        ready = status
        end = time.monotonic() + window.length_s
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_WATCH_EVERY_S, left))
            status = self._status()
            if trouble := _trouble(status, ready):
                return Verdict(False, trouble)
            if status.invocation != ready.invocation:
                return Verdict(False, _started_again(status))
        if window.length_s and status.fed_at == ready.fed_at:
            return Verdict(False, f"no fresh answer within {window.length_s:.0f} s")
        return Verdict(True, status.text)

    def _status(self) -> ServiceStatus:
        return self._manager.status(self._places.unit, installed=True)


def _trouble(status: ServiceStatus, first: ServiceStatus) -> str:
    if status.restarts > first.restarts:
        return _started_again(status)
    # Between the old one's end and the new one's start of a restart it is inactive, too.
    if status.active in ("failed", "inactive") and not status.pending:
        return f"it ended ({status.result or status.detail})"
    return ""


def _started_again(status: ServiceStatus) -> str:
    why = "its log says why" if status.result in ("", "success") else status.result
    return f"it ended and was started again ({why})"
