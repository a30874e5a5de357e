"""Every system call by which a process changes files, found by tracing it; and a process killed as it enters one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

# What can change a file system. A name that this architecture lacks is left out by '?'.
_CALLS = (
    *("write", "pwrite64", "writev", "openat", "creat", "rename", "renameat", "renameat2", "unlink", "unlinkat"),
    *("rmdir", "mkdir", "mkdirat", "symlink", "symlinkat", "link", "linkat", "chmod", "fchmod", "fchmodat"),
    *("fchmodat2", "fsync", "fdatasync", "ftruncate", "truncate", "copy_file_range", "sendfile"),
)
_ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class KillPoint:
    """The ``turn``-th (from 1) call of this name in the process's life."""

    call: str
    turn: int


def require_strace() -> None:
    """Skip where processes cannot be traced."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian package 'strace')")
    if subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode:
        pytest.skip("tracing processes is not allowed here")


def kill_points(module: str, arguments: Sequence[str | Path], marker: str, log: Path) -> list[KillPoint]:
    """Run it to its end; every change of files after the folder ``marker`` was made."""
    calls = ",".join(f"?{call}" for call in _CALLS)
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}", *_program(module, arguments)]
    subprocess.run(command, env=_ENVIRONMENT, check=True, timeout=300)
    seen: Counter[str] = Counter()
    points, begun = [], False
    for line in log.read_text(errors="replace").splitlines():
        call = line.partition("(")[0].split()[-1]
        if call not in _CALLS:
            continue
        seen[call] += 1
        changes = call != "openat" or "O_CREAT" in line
        if begun and changes:
            points.append(KillPoint(call, seen[call]))
        begun = begun or (f"{marker}" in line and call.startswith("mkdir"))
    assert begun, log.read_text()[-2000:]
    return points


def run_killed(module: str, arguments: Sequence[str | Path], point: KillPoint) -> None:
    """Run it until it enters this call; the call is not made."""
    inject = f"inject={point.call}:error=EIO:signal=KILL:when={point.turn}"
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={point.call}", "-e", inject]
    done = subprocess.run([*command, *_program(module, arguments)], env=_ENVIRONMENT, check=False, timeout=300)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{point}: it lived on, {done.returncode}"


def run_failing(module: str, arguments: Sequence[str | Path], point: KillPoint, error: str) -> int:
    """Run it to its end; this call and every further one of its name fails. Its exit code."""
    inject = f"inject={point.call}:error={error}:when={point.turn}+"
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={point.call}", "-e", inject]
    return subprocess.run(
        [*command, *_program(module, arguments)], env=_ENVIRONMENT, capture_output=True, check=False, timeout=120
    ).returncode


def _program(module: str, arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]
