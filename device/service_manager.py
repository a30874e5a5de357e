"""systemd, asked and told by its own program."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from device.errors import DeviceError

_TIMEOUT_S = 120.0
_STATUS_KEYS = (
    "ActiveState",
    "SubState",
    "Result",
    "StatusText",
    "NRestarts",
    "UnitFileState",
    "WatchdogTimestampMonotonic",
    "InvocationID",
    "Job",
)


class ServiceStatus(msgspec.Struct, frozen=True):
    """What systemd says of a service: its words for states.

    ``text`` is what the service last said itself; ``fed_at`` when it last fed its watchdog, in microseconds since the
    machine started, 0 before; ``invocation`` is another after every start; ``pending``: it is about to be started or
    stopped.
    """

    unit: str
    installed: bool
    active: str = ""
    detail: str = ""
    result: str = ""
    text: str = ""
    restarts: int = 0
    enabled: bool = False
    fed_at: int = 0
    invocation: str = ""
    pending: bool = False


class Manager:
    """systemd, by its own program.

    Args:
        system: the system's; else this user's.
    """

    def __init__(self, system: bool = True) -> None:
        self._command = ["systemctl"] if system else ["systemctl", "--user"]

    def version(self) -> int:
        """0 where there is none."""
        with suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
            return int(_run(["systemctl", "--version"]).stdout.split()[1].partition("~")[0])
        return 0

    def require(self) -> None:
        """Raises:
        DeviceError: systemd does not run here, with what to do instead.
        """
        if not Path("/run/systemd/system").is_dir():
            raise DeviceError(
                "systemd does not manage this machine, so it can start no service; --dry-run prints the unit, and "
                "'edgegraft run' works in any other supervisor"
            )

    def enable(self, unit: str, kind: str = "service") -> None:
        """Read the unit again, and start it at every boot.

        Raises:
            DeviceError: what systemctl says.
        """
        self._do("daemon-reload")
        self._do("enable", f"{unit}.{kind}")

    def restart(self, unit: str, kind: str = "service") -> None:
        """Start it anew, also where it has crashed too often.

        Raises:
            DeviceError: what systemctl says.
        """
        with suppress(DeviceError):
            self._do("reset-failed", f"{unit}.{kind}")
        # Not waiting: at the first start every variant is tried, and the camera may be away.
        self._do("restart", "--no-block", f"{unit}.{kind}")

    def halt(self, unit: str) -> None:
        """Stop it until the next boot.

        Raises:
            DeviceError: what systemctl says.
        """
        self._do("stop", f"{unit}.service")

    def stop(self, unit: str, kind: str = "service") -> None:
        """Stop it, now and for good; it is none where it is not known."""
        with suppress(DeviceError):
            self._do("disable", "--now", f"{unit}.{kind}")

    def reload(self) -> None:
        """Make it forget a unit that was removed."""
        self._do("daemon-reload")

    def status(self, unit: str, installed: bool) -> ServiceStatus:
        """Ask about it.

        Raises:
            DeviceError: what systemctl says.
        """
        if not installed:
            return ServiceStatus(unit, installed=False)
        text = self._do("show", f"--property={','.join(_STATUS_KEYS)}", f"{unit}.service")
        values = dict(line.partition("=")[::2] for line in text.splitlines())
        return ServiceStatus(
            unit,
            installed=True,
            active=values.get("ActiveState", ""),
            detail=values.get("SubState", ""),
            result=values.get("Result", ""),
            text=values.get("StatusText", ""),
            restarts=int(values.get("NRestarts") or 0),
            enabled=values.get("UnitFileState") == "enabled",
            fed_at=int(values.get("WatchdogTimestampMonotonic") or 0),
            invocation=values.get("InvocationID", ""),
            pending=values.get("Job", "") not in ("", "0"),
        )

    def _do(self, *arguments: str) -> str:
        try:
            done = _run([*self._command, *arguments])
        except (OSError, subprocess.SubprocessError) as err:
            raise DeviceError(f"systemctl {arguments[0]}: {err}") from err
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise DeviceError(f"systemctl {arguments[0]}: {last[0]}")
        return done.stdout


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False, env=environment
    )
