"""A card of a test's own: an ext4 on a loop device that can be full, worn out, read-only, pulled and put in again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_FOREIGN = "somebody-elses"


@dataclass(frozen=True, slots=True)
class Card:
    """A file system that is mounted at ``place`` and lies in the file ``image``."""

    image: Path
    place: Path

    def fill(self, leave_bytes: int = 0) -> None:
        """Somebody else writes until no more room than this is left."""
        path = self.place / _FOREIGN
        if leave_bytes:
            with path.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, self._free() - leave_bytes)
            return
        for size in (1 << 20, 1 << 12, 1):
            with path.open("ab", buffering=0) as stream, suppress(OSError):
                while True:
                    stream.write(b"x" * size)
                    os.fsync(stream.fileno())

    def empty(self) -> None:
        """That is removed again."""
        (self.place / _FOREIGN).unlink()

    def remount(self, mode: str) -> None:
        """``ro`` or ``rw``."""
        _run("mount", "-o", f"remount,{mode}", self.place)

    def wear_out(self) -> None:
        """The kernel meets an error in it and takes no more writes, whoever has files open."""
        device = Path(_run("findmnt", "-no", "SOURCE", self.place).strip()).name
        Path("/sys/fs/ext4", device, "trigger_fs_error").write_text("1")

    def put_in_again(self) -> None:
        """Pulled, checked and mounted anew, as at a boot.

        As a copy: another process's mount namespace may hold on to the file system in the state that it was in.
        """
        subprocess.run(["sync", "-f", self.place], capture_output=True, check=False)
        _run("umount", "--lazy", self.place)
        copy = self.image.with_name("copy.img")
        _run("cp", "--sparse=always", self.image, copy)
        copy.replace(self.image)
        # 1: errors were found and mended.
        checked = subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, text=True, check=False)
        assert checked.returncode in (0, 1), checked.stdout
        self.mount()

    def mount(self) -> None:
        """Put it in."""
        _run("mount", "-o", "loop,errors=remount-ro", self.image, self.place)

    def _free(self) -> int:
        about = os.statvfs(self.place)
        return about.f_bavail * about.f_frsize


@contextmanager
def card(folder: Path, megabytes: int = 64, really: int | None = None) -> Iterator[Card]:
    """Make one; the test is skipped where that cannot be.

    Args:
        folder: for its image and mount point.
        megabytes: that it claims to have.
        really: that it has; what is more is noticed when it is written out, at fsync.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root for a file system of its own")
    under, place = folder / "under", folder / "card"
    under.mkdir()
    place.mkdir()
    _try("mount", "-t", "tmpfs", "-o", f"size={really or megabytes * 2}m", "tmpfs", under)
    made = Card(under / "card.img", place)
    try:
        with made.image.open("wb") as stream:
            stream.truncate(megabytes * 1024 * 1024)
        _try("mkfs.ext4", "-q", "-m", "0", made.image)
        _try("mount", "-o", "loop,errors=remount-ro", made.image, place)
        try:
            yield made
        finally:
            _run("umount", "--lazy", place)
    finally:
        _run("umount", "--lazy", under)


def give_more(made: Card, megabytes: int) -> None:
    """What a card lacked of what it claims."""
    _run("mount", "-o", f"remount,size={megabytes}m", made.image.parent)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _try(*command: str | Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"needs {command[0]} (Debian packages e2fsprogs and mount)")
    if done.returncode:
        pytest.skip(f"no file system of its own can be made here: {done.stderr.strip()}")
