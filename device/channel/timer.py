"""The poll as a timer of systemd; see systemd.timer(5), systemd.exec(5)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import device
from device.errors import UsageError
from device.service_needs import hidden_paths
from device.service_unit import quoted

# Whole divisors of an hour and a day: the calendar knows no others, and only the calendar makes good for a missed one.
CALENDAR = {
    "15min": ("*:0/15", 900),
    "30min": ("*:0/30", 1_800),
    "1h": ("hourly", 3_600),
    "2h": ("0/2:00", 7_200),
    "3h": ("0/3:00", 10_800),
    "6h": ("0/6:00", 21_600),
    "12h": ("0/12:00", 43_200),
    "1d": ("daily", 86_400),
    "1w": ("weekly", 604_800),
}
_CAPABILITIES = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID"


def timer_text(unit: str, every: str) -> str:
    """The timer: polls of many boards are spread over the whole interval, each board at its own steady moment.

    Raises:
        UsageError: an interval that the calendar does not know.
    """
    if every not in CALENDAR:
        raise UsageError(f"--every {every}: expected one of {', '.join(CALENDAR)}")
    calendar, seconds = CALENDAR[every]
    return "\n".join(
        [
            "# Written by 'edgegraft update --install-timer'; install again instead of editing.",
            "[Unit]",
            f"Description=polls for new releases of {unit}",
            "",
            "[Timer]",
            f"OnCalendar={calendar}",
            f"RandomizedDelaySec={seconds}",
            "FixedRandomDelay=yes",
            "AccuracySec=1s",
            "# A poll that was missed while the board was off is made good.",
            "Persistent=yes",
            "",
            "[Install]",
            "WantedBy=timers.target",
            "",
        ]
    )


def service_text(unit: str, command: Sequence[str], store: Path, system: bool, credentials: dict[str, Path]) -> str:
    """The poll itself.

    Args:
        unit: whose releases it brings.
        command: the program and its arguments.
        store: its folder of releases.
        system: of the system; else of a user.
        credentials: files by name, for secrets.
    """
    lines = ["# Written by 'edgegraft update --install-timer'; install again instead of editing.", "[Unit]"]
    lines.append(f"Description=polls for new releases of {unit}")
    if system:
        lines += ["Wants=network-online.target", "After=network-online.target"]
    lines += ["", "[Service]", "Type=oneshot"]
    program, *arguments = command
    lines.append(f"ExecStart={quoted(program).replace('$$', '$')} {' '.join(map(quoted, arguments))}")
    # A slow line with --rate takes its time; a trial and a health window come on top.
    lines += [
        "TimeoutStartSec=12h",
        "Nice=10",
        "IOSchedulingClass=idle",
        "LimitCORE=0",
        "MemoryMax=60%",
        "TasksMax=256",
    ]
    lines += [f"LoadCredential={name}:{path}" for name, path in sorted(credentials.items())]
    if system:
        lines += _sandbox(store)
    return "\n".join([*lines, ""])


def write_units(folder: Path, unit: str, timer: str, service: str) -> list[Path]:
    """Both files, under names of their own beside the unit's.

    Raises:
        OSError: for want of rights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, text in (("service", service), ("timer", timer)):
        path = folder / f"{unit}-update.{suffix}"
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o644)
        os.replace(fresh, path)  # noqa: PTH105
        written.append(path)
    return written


def remove_units(folder: Path, unit: str) -> bool:
    """Remove them; False where there were none."""
    paths = [folder / f"{unit}-update.{suffix}" for suffix in ("timer", "service")]
    there = [path for path in paths if path.exists()]
    for path in there:
        path.unlink()
    return bool(there)


def _program() -> list[Path]:
    package = Path(device.__file__).resolve().parent.parent
    return sorted({Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), package})


def _sandbox(store: Path) -> Iterator[str]:
    yield "ProtectSystem=strict"
    yield f"ReadWritePaths=-{str(store).replace('%', '%%')} -/run/edgegraft"
    yield "ProtectHome=read-only"
    yield "PrivateTmp=yes"
    # A program that lies there, such as somebody's trial, is seen all the same.
    for path in hidden_paths(_program()):
        yield f"BindReadOnlyPaths={str(path).replace('%', '%%')}"
    yield "NoNewPrivileges=yes"
    yield f"CapabilityBoundingSet={_CAPABILITIES}"
    for part in ("Clock", "ControlGroups", "Hostname", "KernelLogs", "KernelModules", "KernelTunables"):
        yield f"Protect{part}=yes"
    yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
    yield "RestrictNamespaces=yes"
    yield "RestrictRealtime=yes"
    yield "RestrictSUIDSGID=yes"
    yield "LockPersonality=yes"
    yield "SystemCallArchitectures=native"
    yield "SystemCallFilter=@system-service"
    yield "SystemCallErrorNumber=EPERM"
