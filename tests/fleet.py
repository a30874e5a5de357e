"""Several boards on this machine: each a systemd with an SSH server, in a network namespace of its own.

Name ``b0``, ``b1``, ... are in the client's configuration; ``dead`` is an address from which nothing comes back, not
even a refusal.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.ssh_server import prepare_ssh
from tests.system_manager import SystemManager, start_system_manager

PROGRAM = Path(sys.executable).with_name("edgegraft")
DEAD = "dead"

# The runtimes of all lie in one folder: making one takes a minute, and this is about many.
_BEGIN = """
mount -t tmpfs tmpfs /opt
mount -t tmpfs tmpfs /usr/local/bin
# What is in the home folder here is not there.
mount -t tmpfs tmpfs /root
mkdir -p /run/sshd /opt/edgegraft-runtimes
[ -z "$1" ] || mount --bind "$1" /opt/edgegraft-runtimes
shift
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Boards that run.

    Attributes:
        boards: by name.
        command: the SSH client, as ``EDGEGRAFT_SSH`` takes it.
        links: our end of each one's cable.
        folder: of keys and configuration.
    """

    boards: dict[str, SystemManager]
    command: str
    links: dict[str, str]
    folder: Path

    def environment(self, command: str | None = None) -> dict[str, str]:
        """Of what is typed on the workstation."""
        return {**os.environ, "EDGEGRAFT_SSH": command or self.command}

    def flash(
        self, *arguments: str | Path, command: str | None = None, limit_s: float = 500
    ) -> subprocess.CompletedProcess[str]:
        """``edgegraft flash``, as it is typed there."""
        whole = [str(PROGRAM), "flash", *map(str, arguments)]
        return subprocess.run(
            whole, env=self.environment(command), capture_output=True, text=True, timeout=limit_s, check=False
        )

    def version(self, name: str) -> str | None:
        """Of the release at work on a board; None where there is none."""
        done = self.boards[name].run(["/usr/local/bin/edgegraft", "status", "--json"])
        report: dict[str, Any] = msgspec.json.decode(done.stdout) if done.stdout else {}
        current = report.get("current")
        return current["version"] if current else None

    def throttle(self, name: str, rate: str) -> None:
        """What goes to a board is slow from now on, e.g. "256kbit"."""
        limit = ["rate", rate, "burst", "16kb", "latency", "400ms"]
        _ip("tc", "qdisc", "add", "dev", self.links[name], "root", "tbf", *limit)


@contextmanager
def start_fleet(folder: Path, count: int, shared: int | None = None) -> Iterator[Fleet]:
    """Start boards; the test is skipped where that cannot be.

    Args:
        folder: for all that is written.
        count: of boards.
        shared: so many of them have one folder of runtimes; None: all.
    """
    if shutil.which("ip") is None or shutil.which("tc") is None:
        pytest.skip("needs ip and tc; their Debian package is 'iproute2'")
    if shutil.which("python3", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip("needs a python3 in /usr/bin")
    names = [*(f"b{number}" for number in range(count)), DEAD]
    net = f"10.{100 + os.getpid() % 100}"
    hosts = {name: f"{net}.{number}.2:22" for number, name in enumerate(names)}
    server, config = prepare_ssh(folder, "0.0.0.0:22", hosts)
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "/usr/sbin/sshd"
    runtimes = folder / "runtimes"
    runtimes.mkdir()
    with ExitStack() as stack:
        links = {name: stack.enter_context(_cable(number, net, name)) for number, name in enumerate(names)}
        boards = {}
        for number, name in enumerate(names[:-1]):
            place = folder / name
            place.mkdir()
            boards[name] = stack.enter_context(start_system_manager(place, _namespace(number)))
            own = "" if shared is not None and number >= shared else runtimes
            begun = boards[name].run(["sh", "-c", _BEGIN, "sh", own, sshd, "-f", server])
            assert begun.returncode == 0, begun.stderr
        yield Fleet(boards, f"{shutil.which('ssh') or 'ssh'} -F {config}", links, folder)


def _namespace(number: int) -> str:
    return f"edgegraft-{os.getpid()}-{number}"


@contextmanager
def _cable(number: int, net: str, name: str) -> Iterator[str]:
    """A network namespace and a cable to it; our end's name."""
    space, ours = _namespace(number), f"eg{os.getpid() % 100_000}n{number}"
    _ip("ip", "netns", "add", space)
    try:
        _ip("ip", "link", "add", ours, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("ip", "addr", "add", f"{net}.{number}.1/24", "dev", ours)
        _ip("ip", "link", "set", ours, "up")
        inside = ("ip", "-n", space)
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "link", "set", "eth0", "up")
        if name == DEAD:
            # Packets go out, and there is nobody.
            _ip("ip", "neigh", "replace", f"{net}.{number}.2", "lladdr", "02:00:00:00:00:01", "dev", ours)
        else:
            _ip(*inside, "addr", "add", f"{net}.{number}.2/24", "dev", "eth0")
        yield ours
    finally:
        # The cable goes with it.
        subprocess.run(["ip", "netns", "del", space], check=False)


def _ip(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"network namespaces cannot be had here: {' '.join(command)}: {done.stderr.strip()}")
