"""The text of a systemd unit; see systemd.exec(5), systemd.service(5), systemd.resource-control(5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from device.errors import DeviceError
from device.service_needs import Needs, Network, hidden_paths

# From this version on the wait before a new start can grow.
_GROWING_WAIT_VERSION = 254
_CREDENTIALS = "${CREDENTIALS_DIRECTORY}/"


@dataclass(frozen=True, slots=True)
class Unit:
    """A service to be written down.

    Attributes:
        name: of the unit, without ``.service``.
        command: the program and its arguments. ``${CREDENTIALS_DIRECTORY}/`` stands for itself, all else is literal.
        needs: what it asks of the machine.
        system: one of the system; else a user's own.
        program: folders that the program is made of.
        fallback: a unit that is started when this one has failed for good, without ``.service``.
        before: a program that puts the releases in order before each start; of the system it runs as root.
        python_path: where Python looks beside its own places, or None.
        systemd: the version that will read it.
    """

    name: str
    command: Sequence[str]
    needs: Needs
    system: bool = True
    program: Sequence[Path] = ()
    fallback: str = ""
    before: Sequence[str] = ()
    python_path: Path | None = None
    systemd: int = 0

    @property
    def folder(self) -> str:
        """Its own, under the manager's folders for state and cache."""
        return f"edgegraft/{self.name}"


def unit_text(unit: Unit) -> str:
    """The unit as a file.

    Raises:
        DeviceError: a path or an argument that a unit cannot hold.
    """
    lines = ["# Written by 'edgegraft service install'; install again instead of editing.", "[Unit]"]
    lines += _about(unit)
    lines += ["", "[Service]", *_running(unit)]
    if unit.system:
        lines += ["", *_sandbox(unit)]
    lines += ["", "[Install]", f"WantedBy={'multi-user' if unit.system else 'default'}.target", ""]
    return "\n".join(lines)


def fallback_text(name: str, command: Sequence[str]) -> str:
    """The unit that goes back to the release before, once the service of this name has crashed too often."""
    program, *arguments = command
    lines = [
        "# Written by 'edgegraft service install'; install again instead of editing.",
        "[Unit]",
        f"Description=edgegraft goes back to the release before ({name})",
        "",
        "[Service]",
        "Type=oneshot",
        f"ExecStart={quoted(program).replace('$$', '$')} {' '.join(map(quoted, arguments))}",
        "",
    ]
    return "\n".join(lines)


def quoted(text: str) -> str:
    """One argument of a command line, so that systemd hands on exactly this text.

    Raises:
        DeviceError: not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as err:
        raise DeviceError(f"{text!r} is not valid UTF-8, and systemd takes nothing else; rename it") from err
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    escaped = escaped.replace(_CREDENTIALS.replace("$", "$$"), _CREDENTIALS)
    return '"' + "".join(char if char >= " " and char != "\x7f" else f"\\x{ord(char):02x}" for char in escaped) + '"'


def _plain(path: Path | str, forbidden: str = "") -> str:
    """A path in a setting that knows no quotes.

    Raises:
        DeviceError: it has a character that cannot be written there.
    """
    text = str(path)
    wrong = [char for char in text if char < " " or char == "\x7f" or char in forbidden]
    if wrong or text != text.strip() or text.endswith("\\"):
        raise DeviceError(f"{text!r}: systemd takes no path with {wrong[0] if wrong else text[-1]!r} here; rename it")
    return text.replace("%", "%%")


def _about(unit: Unit) -> Iterator[str]:
    yield f"Description=edgegraft live classification ({unit.name})"
    if unit.system:
        yield "After=network.target nvargus-daemon.service"
    # Whoever crashes eight times in a quarter of an hour does not get well by itself: it stays down, for all to see.
    yield "StartLimitIntervalSec=900"
    yield "StartLimitBurst=8"
    if unit.fallback:
        yield f"OnFailure={unit.fallback}.service"


def _running(unit: Unit) -> Iterator[str]:
    if unit.before:
        first, *rest = unit.before
        # '-': releases that cannot be put in order, on a read-only disk for one, are no reason not to start.
        prefix = "-+" if unit.system else "-"
        yield f"ExecStartPre={prefix}{quoted(first).replace('$$', '$')} {' '.join(map(quoted, rest))}"
    program, *arguments = unit.command
    # Of the program alone systemd expands no variables.
    yield f"ExecStart={quoted(program).replace('$$', '$')} {' '.join(map(quoted, arguments))}"
    yield "Type=notify"
    yield "NotifyAccess=main"
    # At the first start every variant of the bundle is tried.
    yield "TimeoutStartSec=900"
    yield "TimeoutStopSec=30"
    yield "WatchdogSec=60"
    yield "Restart=always"
    yield "RestartSec=5"
    if unit.systemd >= _GROWING_WAIT_VERSION:
        yield "RestartSteps=8"
        yield "RestartMaxDelaySec=300"
    yield "KillMode=mixed"
    yield "LimitCORE=0"
    yield "MemoryMax=50%"
    yield "TasksMax=256"
    yield f"StateDirectory={unit.folder}"
    yield "StateDirectoryMode=0700"
    yield f"WorkingDirectory=%S/{unit.folder}"
    if unit.system:
        # Libraries write caches into the home folder, and there is none.
        yield f"CacheDirectory={unit.folder}"
        yield f"Environment=HOME=%S/{unit.folder} XDG_CACHE_HOME=%C/{unit.folder} PYTHONDONTWRITEBYTECODE=1"
    if unit.python_path is not None:
        yield f"Environment={quoted(f'PYTHONPATH={unit.python_path}').replace('$$', '$')}"
    for name, path in sorted(unit.needs.credentials.items()):
        yield f"LoadCredential={name}:{_plain(path)}"


def _sandbox(unit: Unit) -> Iterator[str]:
    needs = unit.needs
    yield "DynamicUser=yes"
    if needs.groups:
        yield f"SupplementaryGroups={' '.join(sorted(needs.groups))}"
    yield from _devices(needs)
    yield from _network(needs)
    yield from _files(unit)
    yield "NoNewPrivileges=yes"
    yield "CapabilityBoundingSet="
    yield "AmbientCapabilities="
    for part in ("Clock", "ControlGroups", "Hostname", "KernelLogs", "KernelModules", "KernelTunables"):
        yield f"Protect{part}=yes"
    # Not ProcSubset=pid: the memory that is left stands in /proc/meminfo.
    yield "ProtectProc=invisible"
    yield "RestrictNamespaces=yes"
    yield "RestrictRealtime=yes"
    yield "RestrictSUIDSGID=yes"
    yield "LockPersonality=yes"
    if not needs.gpu:
        yield "MemoryDenyWriteExecute=yes"
    yield "RemoveIPC=yes"
    yield "KeyringMode=private"
    yield "UMask=0077"
    yield "SystemCallArchitectures=native"
    yield "SystemCallFilter=@system-service"
    yield "SystemCallFilter=~@privileged @resources"
    # Refused, not killed: a runtime that may not pin its threads goes on without.
    yield "SystemCallErrorNumber=EPERM"


def _devices(needs: Needs) -> Iterator[str]:
    if not needs.devices:
        yield "PrivateDevices=yes"
    yield "DevicePolicy=closed"
    for device in sorted(needs.devices):
        yield f"DeviceAllow={device} rw"


def _network(needs: Needs) -> Iterator[str]:
    families = ["AF_UNIX"]
    if needs.network is not Network.NONE:
        families += ["AF_INET", "AF_INET6"]
    if needs.netlink:
        families.append("AF_NETLINK")
    yield f"RestrictAddressFamilies={' '.join(families)}"
    if needs.network is Network.NONE and not needs.netlink:
        yield "PrivateNetwork=yes"
    if needs.network is not Network.ANY:
        yield "IPAddressDeny=any"
    if needs.network is Network.LOOPBACK:
        yield "IPAddressAllow=localhost"


def _files(unit: Unit) -> Iterator[str]:
    yield "ProtectSystem=strict"
    yield "PrivateTmp=yes"
    hidden = hidden_paths([*unit.program, *unit.needs.read])
    yield f"ProtectHome={'tmpfs' if hidden else 'yes'}"
    for path in hidden:
        yield f"BindReadOnlyPaths={quoted(_plain(path, ':')).replace('%%%%', '%%').replace('$$', '$')}"
    for socket in sorted(unit.needs.sockets):
        yield f"BindPaths=-{socket}"
