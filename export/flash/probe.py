"""What a board is, looked at before anything is sent to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from device.console import printable
from device.releases.refusals import NoSpace, Unsuitable
from device.ssh import Connection

MACHINES = ("aarch64", "x86_64")
# The runtime, its wheels, and a bundle twice.
_NEEDED_MB = 700
_PYTHONS = "python3 python3.13 python3.12 python3.11 python3.10"
_SCRIPT = f"""\
say() {{ printf '%s=%s\\n' "$1" "$2"; }}
say machine "$(uname -m)"
say model "$(tr -d '\\0' 2>/dev/null </proc/device-tree/model)"
say system "$(. /etc/os-release 2>/dev/null && printf %s "$PRETTY_NAME")"
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
for name in {_PYTHONS}; do
    "$name" -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue
    say program "$(command -v "$name")"
    say python "$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    break
done
say free_mb "$(df -Pm /var/lib 2>/dev/null | tail -1 | tr -s ' ' | cut -d ' ' -f 4)"
say systemd "$([ -d /run/systemd/system ] && echo yes)"
say cameras "$(ls -d /dev/video* 2>/dev/null | tr '\\n' ' ')"
if [ "$(id -u)" = 0 ]; then say root own; elif sudo -n true 2>/dev/null; then say root sudo; fi
"""


@dataclass(frozen=True, slots=True)
class BoardInfo:
    """A board that a bundle can be put on.

    Attributes:
        model, system: for people, e.g. "Raspberry Pi 5 Model B Rev 1.0", "Debian GNU/Linux 12 (bookworm)".
        machine: as ``uname -m`` says it.
        program, python: the interpreter, and its version, e.g. "3.11".
        glibc: of the system.
        free_mb: where releases are kept.
        cameras: devices that are there now.
        root: "own" or "sudo".
    """

    model: str
    system: str
    machine: str
    program: str
    python: str
    glibc: tuple[int, int]
    free_mb: int
    cameras: tuple[str, ...]
    root: str


def probe(connection: Connection) -> BoardInfo:
    """Look at a board; nothing is changed there.

    Raises:
        Unsuitable: nothing of ours can run there, or nothing may be installed.
        NoSpace: there is not enough for the runtime.
        RemoteError, HostKeyRefused: it is not reached.
    """
    lines = connection.run(_SCRIPT).output.splitlines()
    found = {key: printable(value.strip()) for key, _, value in (line.partition("=") for line in lines)}
    where, machine = connection.destination, found.get("machine", "")
    if machine not in MACHINES:
        raise Unsuitable(
            f"{where}: '{machine or 'unknown'}' has no wheels of LiteRT; a 64-bit system is needed (uname -m: aarch64)"
        )
    if not found.get("program"):
        raise Unsuitable(f"{where}: no Python 3.10 to 3.13 with the module venv; install a newer system")
    if not found.get("systemd"):
        raise Unsuitable(f"{where}: systemd does not run there, and the service is one of its units")
    if found.get("root") not in ("own", "sudo"):
        raise Unsuitable(f"{where}: not root, and sudo asks for a password; log in as root, or allow sudo without one")
    free = found.get("free_mb", "")
    free_mb = int(free) if free.isdecimal() and len(free) < 12 else 0
    if free_mb < _NEEDED_MB:
        raise NoSpace(f"{where}: {free_mb} MB are free under /var/lib, {_NEEDED_MB} MB are needed; free some space")
    version = re.search(r"(\d+)\.(\d+)", found.get("glibc", ""))
    return BoardInfo(
        model=found.get("model") or "unnamed machine",
        system=found.get("system", ""),
        machine=machine,
        program=found["program"],
        python=found["python"],
        glibc=(int(version[1]), int(version[2])) if version else (2, 17),
        free_mb=free_mb,
        cameras=tuple(found.get("cameras", "").split()),
        root=found["root"],
    )
