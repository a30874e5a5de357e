"""A real systemd as the first process of namespaces of its own: it starts services as on a board, and nothing stays.

Several may run beside one another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import TracebackType

import pytest

_SYSTEMD = Path("/usr/lib/systemd/systemd")
_START_LIMIT_S = 30.0
_UNITS = "/etc/systemd/system"
# What a service refers to without saying so.
_TARGETS = ("basic", "sysinit", "shutdown", "multi-user", "network", "try")
_BOOT = """
set -e
# A part of the tree of control groups that is its own: another systemd must not take its services for strangers.
mount --make-rprivate /
mount -t cgroup2 cgroup2 /mnt
mkdir -p "/mnt/$2"
echo 0 >"/mnt/$2/cgroup.procs"
umount /mnt
exec unshare --cgroup sh -c "$3" boot "$1"
"""
_ALONE = f"""
set -e
for folder in /run /var/lib /var/cache /etc/edgegraft {_UNITS}; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
mkdir -p /run/systemd/system /var/lib/private /var/cache/private
chmod 700 /var/lib/private /var/cache/private
for name in {" ".join(_TARGETS)}; do
    printf '[Unit]\\nDescription=%s\\nDefaultDependencies=no\\n' "$name" > "{_UNITS}/$name.target"
done
mount -t proc proc /proc
umount -l /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$1" /dev/console
export SYSTEMD_UNIT_PATH={_UNITS} container=edgegraft-tests
exec {_SYSTEMD} --system --unit=try.target --log-target=console --log-level=info
"""
# Empty as soon as the last process is gone.
_CLEAR = """
mount -t cgroup2 cgroup2 /mnt || exit
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    find "/mnt/$1" -depth -type d -exec rmdir {} + && exit
    sleep 0.2
done
"""
_COUNT = count()


class SystemManager:
    """A running systemd.

    Args:
        folder: for its log.
        network: name of the network namespace that it is in, or "" for ours.
    """

    def __init__(self, folder: Path, network: str = "") -> None:
        self.log = folder / "systemd.log"
        self.log.touch()
        self._group = f"edgegraft-tests-{os.getpid()}-{next(_COUNT)}"
        command = ["nsenter", f"--net=/run/netns/{network}"] if network else []
        command += ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child"]
        with (folder / "boot.log").open("wb") as words:
            self._outer = subprocess.Popen(
                [*command, "sh", "-c", _BOOT, "boot", str(self.log), self._group, _ALONE], stdout=words, stderr=words
            )
        try:
            self._pid = self._await()
        except BaseException:
            self.close()
            raise

    def run(self, command: Sequence[str | Path], timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program beside it, as root."""
        return subprocess.run(self._beside(command), capture_output=True, text=True, timeout=timeout_s, check=False)

    def begin(self, command: Sequence[str | Path]) -> subprocess.Popen[str]:
        """The same, not waited for; its input and output are pipes."""
        return subprocess.Popen(self._beside(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _beside(self, command: Sequence[str | Path]) -> list[str]:
        enter = ["nsenter", "--target", self._pid, "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup"]
        return [*enter, *map(str, command)]

    def show(self, unit: str) -> dict[str, str]:
        """What it says of a unit."""
        text = self.run(["systemctl", "show", unit]).stdout
        return dict(line.partition("=")[::2] for line in text.splitlines())

    def until(self, unit: str, limit_s: float, **wanted: str) -> dict[str, str]:
        """Wait until a unit's properties are these."""
        deadline = time.monotonic() + limit_s
        while True:
            shown = self.show(unit)
            if all(shown.get(key) == value for key, value in wanted.items()):
                return shown
            assert time.monotonic() < deadline, f"{unit}: {shown.get('ActiveState')}; {self.log.read_text()[-3000:]}"
            time.sleep(0.2)

    def wait(self, command: Sequence[str | Path], limit_s: float) -> None:
        """Wait until a program ends well beside it."""
        deadline = time.monotonic() + limit_s
        while self.run(command).returncode:
            assert time.monotonic() < deadline, f"{command}; {self.log.read_text()[-3000:]}"
            time.sleep(0.2)

    def close(self) -> None:
        """End it with all that it has started."""
        self._outer.kill()
        self._outer.wait()
        clear = ["unshare", "--mount", "sh", "-c", _CLEAR, "sh", self._group]
        subprocess.run(clear, capture_output=True, check=False)

    def __enter__(self) -> SystemManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await(self) -> str:
        deadline = time.monotonic() + _START_LIMIT_S
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        while time.monotonic() < deadline and self._outer.poll() is None:
            found = children.read_text().split()
            if found:
                self._pid = found[0]
                if self.run(["systemctl", "is-active", "try.target"]).stdout.strip() == "active":
                    return self._pid
            time.sleep(0.1)
        pytest.skip("systemd does not start in namespaces of its own here (a container without the right to mount?)")


def start_system_manager(folder: Path, network: str = "") -> SystemManager:
    """Start one; the test is skipped where that cannot be."""
    if not _SYSTEMD.exists() or shutil.which("systemctl") is None:
        pytest.skip("needs systemd; its Debian package is 'systemd'")
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("needs root, unshare and nsenter (Debian package 'util-linux') for a systemd of its own")
    return SystemManager(folder, network)
