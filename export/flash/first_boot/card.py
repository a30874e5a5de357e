"""The boot partition of a card: a mounted folder, or a FAT partition in an image, written by mtools without root."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Protocol

from device.releases.refusals import UnsuitableCard
from export.errors import ExportError
from export.flash.first_boot.partitions import Partition, partitions, room

FOLDER = "edgegraft"
_OWN_BOOT = ("/", "/boot", "/boot/firmware", "/boot/efi", "/efi")


class Card(Protocol):
    """What a preparation needs of a boot partition. Paths are relative, with '/'."""

    where: str
    label: str
    partition_names: tuple[str, ...]

    def names(self) -> dict[str, str]:
        """The entries of its root, by lower-case name: FAT knows no case."""

    def read(self, name: str) -> bytes | None:
        """A file, None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """A file, replaced where it is there; its folder is made."""

    def copy(self, source: Path, name: str) -> None:
        """A file of this machine."""

    def remove(self, name: str) -> None:
        """A folder with all in it, if it is there."""

    def room(self) -> tuple[int, int]:
        """Bytes of a cluster and bytes free, as if ``FOLDER`` were empty."""

    def sync(self) -> None:
        """What was written is on the medium when this returns."""


class MountedCard:
    """``--boot DIR``.

    Raises:
        UnsuitableCard: no folder, or the boot partition of the machine that this runs on.
    """

    def __init__(self, folder: Path, own: tuple[str, ...] = _OWN_BOOT) -> None:
        self.where = str(folder)
        self.partition_names: tuple[str, ...] = ()
        self._folder = folder
        if not folder.is_dir():
            raise UnsuitableCard(f"{folder}: no such folder; expected the mounted boot partition of a card")
        if any(Path(place).exists() and Path(place).samefile(folder) for place in own):
            raise UnsuitableCard(f"{folder}: this machine's own system; expected the boot partition of another card")
        self.label = _mounted_label(folder)

    def names(self) -> dict[str, str]:
        """See ``Card``."""
        return {path.name.lower(): path.name for path in self._folder.iterdir()}

    def read(self, name: str) -> bytes | None:
        """See ``Card``."""
        path = self._folder / name
        return path.read_bytes() if path.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """See ``Card``."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        self._settle(path.parent)

    def copy(self, source: Path, name: str) -> None:
        """See ``Card``."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as given, path.open("wb") as file:
            shutil.copyfileobj(given, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())

    def remove(self, name: str) -> None:
        """See ``Card``."""
        if (self._folder / name).is_dir():
            shutil.rmtree(self._folder / name)

    def room(self) -> tuple[int, int]:
        """See ``Card``."""
        state = os.statvfs(self._folder)
        files = [path for path in (self._folder / FOLDER).rglob("*") if path.is_file()]
        used = sum(-(-path.stat().st_size // state.f_frsize) * state.f_frsize for path in files)
        return state.f_frsize, state.f_bavail * state.f_frsize + used

    def sync(self) -> None:
        """See ``Card``."""
        self._settle(self._folder)

    def _settle(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class ImageCard:
    """``--image FILE``: a raw image, or a card's block device.

    Raises:
        UnsuitableCard: not a disk image, in use, or no FAT partition in it.
        ExportError: mtools are missing.
    """

    def __init__(self, image: Path) -> None:
        self.where = str(image)
        self._image = image.absolute()
        if shutil.which("mcopy") is None:
            raise ExportError("mtools are missing, which write into an image without root: apt install mtools")
        if "@@" in str(self._image):
            raise UnsuitableCard(f"{image}: mtools take no '@@' in a path; rename it")
        _check_image(self._image)
        with self._image.open("rb") as disk:
            found = partitions(disk, image)
            usable = [(part, space) for part in found if part.fat and (space := room(disk, part)) is not None]
        self.partition_names = tuple(part.name for part in found if part.name)
        self._parts: list[Partition] = [part for part, _ in usable]
        if not usable and "APP" not in self.partition_names:
            raise UnsuitableCard(
                f"{image}: no FAT boot partition in it; expected an image of Raspberry Pi OS or Ubuntu"
            )
        self._part = self._parts[0] if usable else None
        for part in self._parts:  # the one with a seed, else the first
            self._part = part
            if "user-data" in self.names():
                break
        else:
            self._part = self._parts[0] if usable else None
        self.label = self._find_label()

    def names(self) -> dict[str, str]:
        """See ``Card``."""
        if self._part is None:
            return {}
        listed = self._run("mdir", "-b", "-a", "::/").decode("utf-8", "replace").splitlines()
        names = [line.removeprefix("::/").rstrip("/") for line in listed if line.startswith("::/")]
        return {name.lower(): name for name in names}

    def read(self, name: str) -> bytes | None:
        """See ``Card``."""
        folder, _, last = name.rpartition("/")
        inside = self._list(folder) if folder else set(self.names())
        return self._run("mtype", f"::/{name}") if last.lower() in inside else None

    def write(self, name: str, data: bytes) -> None:
        """See ``Card``."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            self.copy(Path(file.name), name)

    def copy(self, source: Path, name: str) -> None:
        """See ``Card``."""
        folder = name.rpartition("/")[0]
        for depth in range(folder.count("/") + 1 if folder else 0):
            part = "/".join(folder.split("/")[: depth + 1])
            parent, _, last = part.rpartition("/")
            if last.lower() not in (self._list(parent) if parent else set(self.names())):
                self._run("mmd", "-D", "s", f"::/{part}")
        self._run("mcopy", "-o", "-D", "o", str(source.absolute()), f"::/{name}")

    def remove(self, name: str) -> None:
        """See ``Card``."""
        folder, _, last = name.rpartition("/")
        if last.lower() in (self._list(folder) if folder else self.names()):
            self._run("mdeltree", f"::/{name}")

    def room(self) -> tuple[int, int]:
        """See ``Card``."""
        assert self._part is not None
        with self._image.open("rb") as disk:
            space = room(disk, self._part)
        assert space is not None
        used = 0
        if FOLDER in self.names():
            listed = self._run("mdir", "-s", "-a", f"::/{FOLDER}").decode("utf-8", "replace")
            # "name ext  1 234 2026-01-01 12:00 long name"; sizes are grouped by blanks.
            sizes = re.findall(r"^\S+(?: +\S{1,3})? +(\d[\d ]*?) +\d{4}-\d\d-\d\d", listed, re.MULTILINE)
            used = sum(-(-int(size.replace(" ", "")) // space.cluster) * space.cluster for size in sizes)
        return space.cluster, space.free + used

    def sync(self) -> None:
        """See ``Card``."""
        with self._image.open("rb") as disk:
            os.fsync(disk.fileno())

    def _list(self, folder: str) -> set[str]:
        parent, _, last = folder.rpartition("/")
        if last.lower() not in (self._list(parent) if parent else set(self.names())):
            return set()
        listed = self._run("mdir", "-b", "-a", f"::/{folder}").decode("utf-8", "replace").splitlines()
        return {line.rstrip("/").rpartition("/")[2].lower() for line in listed if line.startswith("::/")}

    def _find_label(self) -> str:
        if self._part is None:
            return ""
        text = self._run("mlabel", "-s", "::").decode("utf-8", "replace")
        found = re.search(r"Volume label is (.+?)(?: \(abbr=.*)?$", text.strip(), re.MULTILINE)
        return found[1].strip() if found else ""

    def _run(self, program: str, *arguments: str) -> bytes:
        assert self._part is not None
        command = [program, "-i", f"{self._image}@@{self._part.offset}", *arguments]
        environment = {**os.environ, "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
        environment["MTOOLS_DATE_STRING"] = "yyyy-mm-dd"
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, env=environment)
        if done.returncode:
            said = " ".join(done.stderr.decode("utf-8", "replace").split()) or f"it ended with {done.returncode}"
            raise ExportError(f"{self.where}: {program}: {said}; prepare it again, or write the image anew")
        return done.stdout


def _check_image(image: Path) -> None:
    if not image.exists():
        raise UnsuitableCard(f"{image}: no such file; expected a disk image (.img)")
    mode = image.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise UnsuitableCard(f"{image}: neither a file nor a disk; for a mounted card give --boot {image}")
    used = _used_by(image.resolve(), stat.S_ISBLK(mode))
    if used:
        raise UnsuitableCard(f"{image}: in use as {used}; unmount it, and be sure that it is the card")
    if not os.access(image, os.R_OK | os.W_OK):
        raise UnsuitableCard(f"{image}: it cannot be written by this user; chmod u+w it, or for a disk use sudo")


def _used_by(image: Path, disk: bool, proc: Path = Path("/proc"), blocks: Path = Path("/sys/block")) -> str:
    """Where a disk, one of its partitions or a loop device of the file is mounted or used for swapping; else empty."""
    mine = {str(image)} if disk else set()
    for backing in blocks.glob("loop*/loop/backing_file"):
        if backing.read_text().strip() == str(image):
            mine.add(f"/dev/{backing.parent.parent.name}")
    for table in ("mounts", "swaps"):
        path = proc / table
        for line in path.read_text().splitlines() if path.exists() else ():
            device, _, rest = line.partition(" ")
            if any(re.fullmatch(rf"{re.escape(each)}(p?\d+)?", device) for each in mine):
                return rest.split(" ")[0] if table == "mounts" else "swap"
    # A loop device is in use even when nothing of it is mounted yet.
    return next((each for each in sorted(mine) if not disk), "")


def _mounted_label(folder: Path) -> str:
    device = folder.stat().st_dev
    for link in Path("/dev/disk/by-label").glob("*"):
        if link.exists() and link.stat().st_rdev == device:
            return link.name.replace("\\x20", " ")
    return folder.name  # where desktops mount a card, the folder is called by the label
