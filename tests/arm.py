"""An ARM board's userland on this machine: aarch64 programs under QEMU's user-mode emulation.

What a processor lacks shows as an illegal instruction; how fast a board is does not show.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent
_TIME_LIMIT_S = 600


class Processor(Enum):
    """QEMU's name for the processor of a board."""

    RASPBERRY_PI_3 = "cortex-a53"
    RASPBERRY_PI_4 = "cortex-a72"
    RASPBERRY_PI_5 = "cortex-a76"


@dataclass(frozen=True, slots=True)
class ArmBoard:
    """An installed board.

    Attributes:
        emulator: QEMU's program.
        root: from ``scripts/arm_root``.
        install: the folder into which edgegraft's own wheel was installed.
    """

    emulator: str
    root: Path
    install: Path

    def python(
        self, processor: Processor, *arguments: str | Path, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the board's Python."""
        (python,) = (self.root / "usr" / "bin").glob("python3.*[0-9]")
        environment = {
            "HOME": str(cwd or self.root),
            "PATH": os.defpath,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{self.install}{os.pathsep}{self.root / 'site'}",
            "QEMU_CPU": processor.value,
        }
        command = [self.emulator, "-L", self.root, python, *arguments]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
        )


def install_board(folder: Path) -> ArmBoard:
    """Make the root if need be, build edgegraft's wheel and install it there.

    Args:
        folder: for the wheel and its installation.
    """
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("needs an emulator: sudo apt-get install qemu-user-static")
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("needs Debian's apt-get and dpkg-deb, which unpack the board's Python")
    made = _run([sys.executable, _REPOSITORY / "scripts" / "arm_root"])
    root = Path(made.strip().splitlines()[-1])
    install = folder / "install"
    _run([*_pip("install"), "--no-compile", "--no-deps", "--target", install, _wheel(folder)])
    return ArmBoard(emulator, root, install)


def _wheel(folder: Path) -> Path:
    # From a copy: setuptools leaves build folders in the tree that it builds.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for package in ("device", "export", "pipeline"):
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(_REPOSITORY / package, Path(scratch) / package, ignore=leave)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(_REPOSITORY / name, scratch)
        _run([*_pip("wheel"), "--no-deps", "--wheel-dir", folder, scratch])
    (wheel,) = folder.glob("*.whl")
    return wheel


def _pip(what: str) -> list[str]:
    return [sys.executable, "-m", "pip", what, "--quiet", "--disable-pip-version-check"]


def _run(command: list[str | Path]) -> str:
    child = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if child.returncode:
        pytest.skip(f"no board can be made: {' '.join(map(str, command[:4]))}: {child.stderr.strip()[-500:]}")
    return child.stdout
