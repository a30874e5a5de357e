"""File systems of a test's own: full ones and read-only ones, gone with the processes that use them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_ext4(folder: Path, megabytes: int) -> Iterator[Path]:
    """An ext4 of this size, as on a card: what is written goes to a block device and is full when that is.

    Args:
        folder: where its image and its mount point are made.
        megabytes: of the image.
    """
    image, place = folder / "card.img", folder / "card"
    with image.open("wb") as stream:
        stream.truncate(megabytes * 1024 * 1024)
    place.mkdir()
    for command in (["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, place]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"needs {command[0]} (Debian packages e2fsprogs, mount)")
        if done.returncode:
            pytest.skip(f"needs root and loop devices for a file system of its own ({done.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def remount(place: Path, mode: str) -> None:
    """``ro`` or ``rw``."""
    subprocess.run(["mount", "-o", f"remount,{mode}", place], check=True)


def fill(place: Path, leave_bytes: int = 0) -> Path:
    """Somebody else writes until there is no more room than this; which file to remove for more."""
    path = place / "somebody-elses"
    with path.open("wb", buffering=0) as stream:
        try:
            for size in (1 << 20, 1 << 12, 1):
                while True:
                    about = _free(place)
                    if about < leave_bytes + size:
                        break
                    if not stream.write(b"x" * size):
                        break
        except OSError:
            pass
    return path


def _free(place: Path) -> int:
    import os

    about = os.statvfs(place)
    return about.f_bavail * about.f_frsize
