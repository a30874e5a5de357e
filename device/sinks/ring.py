"""A folder that never grows beyond a size: the oldest of what we wrote goes first, and nothing else is touched."""

from __future__ import annotations

import errno
import os
import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device.collection import time_name, write_whole
from device.errors import SinkError
from device.sinks.base import PASSING

# Files that somebody took away are noticed so often.
_SCAN_EVERY_S = 60.0
# A video's encoder does not tell that the disk is full: it must not come to that.
_SPARE_BYTES = 4_000_000
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a ring holds at most. ``most`` is of entries, however many files each has."""

    most_bytes: int
    most: int


@dataclass(frozen=True, slots=True)
class _Entry:
    stem: str
    size_bytes: int


class Ring:
    """Entries of one or more files each, named ``<time>-<kind>-<6 hex digits><suffix>``. Of one thread.

    An entry is there when the file with the last suffix is: files are written in the order of the suffixes and
    removed in the opposite one, so that a power cut leaves no entry half there. Which files are ours is told by
    their whole name; any other, and everything in sub-folders, is never removed. A disk that is full or read-only at
    the start is looked at again when there is something to write.

    Args:
        folder: made when it is missing.
        kinds: words of lower-case letters.
        suffixes: such as ``(".json", ".jpg")``.
        limits: of size and number; also held when files were there before.

    Raises:
        SinkError: the folder cannot be made or written, for another reason.
    """

    def __init__(self, folder: Path, kinds: Sequence[str], suffixes: Sequence[str], limits: Limits) -> None:
        self.folder = folder
        self._suffixes = tuple(suffixes)
        self._limits = limits
        endings = "|".join(re.escape(suffix) for suffix in suffixes)
        stem = rf"\d{{8}}T\d{{6}}\.\d{{3}}Z-(?:{'|'.join(kinds)})-[0-9a-f]{{6}}"
        self._ours = re.compile(rf"({stem})({endings})")
        self._partial = re.compile(rf"\.{stem}(?:{endings})?\.part(?:{endings})?")
        self._entries: deque[_Entry] = deque()
        self._bytes = 0
        self._opened = False
        try:
            self._open()
        except OSError as err:
            if err.errno not in PASSING:
                raise SinkError(f"{folder}: {err.strerror}; name a folder that can be written") from err

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Of all entries."""
        return self._bytes

    def add(self, stem: str, files: Sequence[bytes]) -> None:
        """Write an entry, after removing as many of the oldest as that takes.

        Args:
            stem: from ``stem_name``; no other entry's.
            files: the content, one for each suffix.

        Raises:
            SinkError: larger than the ring, or not written, e.g. for the disk is full of other things; then no file
                of it is there.
        """
        size = sum(map(len, files))
        self._check_size(size)
        try:
            self._open()
            self._make_room(size, 1)
            while not self._written(stem, files):
                self._remove_oldest()
        except OSError as err:
            raise self.failure(err) from err
        self._append(_Entry(stem, size))

    def reserve(self, size_bytes: int) -> None:
        """Make room for a file that is still being written: of this size in the ring, and to grow on the disk.

        Raises:
            SinkError: larger than the ring, or the disk is full of other things.
        """
        self._check_size(size_bytes)
        try:
            self._open()
            self._make_room(size_bytes, 1)
            while self._free_bytes() < _SPARE_BYTES:
                if not self._entries:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._remove_oldest()
        except OSError as err:
            raise self.failure(err) from err

    def adopt(self, partial: Path, stem: str) -> Path:
        """Make an entry of a finished file that was written at ``partial_path``; the ring has one suffix.

        Raises:
            SinkError: it cannot be renamed; it is removed then.
        """
        path = self.folder / (stem + self._suffixes[-1])
        try:
            size = partial.stat().st_size
            self.reserve(size)
            partial.replace(path)
        except OSError as err:
            partial.unlink(missing_ok=True)
            raise self.failure(err) from err
        except SinkError:
            partial.unlink(missing_ok=True)
            raise
        self._append(_Entry(stem, size))
        return path

    def partial_path(self, stem: str) -> Path:
        """Where an entry's only file is written before it is whole: hidden, and with its suffix at the end."""
        return self.folder / f".{stem}.part{self._suffixes[-1]}"

    def failure(self, err: OSError) -> SinkError:
        """What to tell of an error."""
        return SinkError(f"{self.folder}: {err.strerror or err}; free some space, or name another folder")

    def _open(self) -> None:
        """Make the folder and count what is in it, once."""
        if self._opened:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK | os.X_OK):
            read_only = os.statvfs(self.folder).f_flag & os.ST_RDONLY
            code = errno.EROFS if read_only else errno.EACCES
            raise OSError(code, os.strerror(code))
        self._clear_leftovers()
        self._scan()
        self._make_room(0, 0)
        self._opened = True

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._limits.most_bytes:
            raise SinkError(
                f"{self.folder}: one of {size_bytes / 1e6:.1f} MB does not fit into the "
                f"{self._limits.most_bytes / 1e6:g} MB that may be kept; raise most_mb"
            )

    def _free_bytes(self) -> int:
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def _written(self, stem: str, files: Sequence[bytes]) -> bool:
        """False when the disk is full and there is something of ours that can go."""
        paths = [self.folder / (stem + suffix) for suffix in self._suffixes]
        try:
            for path, data in zip(paths, files, strict=True):
                write_whole(path, data)
            return True
        except OSError as err:
            for path in reversed(paths):
                path.unlink(missing_ok=True)
            if err.errno in _DISK_FULL and self._entries:
                return False
            raise

    def _append(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._bytes += entry.size_bytes

    def _make_room(self, size: int, count: int) -> None:
        if self._full(size, count) and time.monotonic() - self._scanned_at > _SCAN_EVERY_S:
            self._scan()
        while self._entries and self._full(size, count):
            self._remove_oldest()

    def _full(self, size: int, count: int) -> bool:
        return self._bytes + size > self._limits.most_bytes or len(self._entries) + count > self._limits.most

    def _remove_oldest(self) -> None:
        entry = self._entries.popleft()
        self._bytes -= entry.size_bytes
        for suffix in reversed(self._suffixes):
            (self.folder / (entry.stem + suffix)).unlink(missing_ok=True)

    def _scan(self) -> None:
        """Count what is there. What was added here keeps its order: a board's clock may have been set back."""
        found: dict[str, int] = {}
        for entry in os.scandir(self.folder):
            ours = self._ours.fullmatch(entry.name)
            if ours and entry.is_file(follow_symlinks=False):
                found[ours[1]] = found.get(ours[1], 0) + entry.stat(follow_symlinks=False).st_size
        known = [entry.stem for entry in self._entries if entry.stem in found]
        order = [*sorted(found.keys() - set(known)), *known]
        self._entries = deque(_Entry(stem, found[stem]) for stem in order)
        self._bytes = sum(found.values())
        self._scanned_at = time.monotonic()

    def _clear_leftovers(self) -> None:
        """Remove what a power cut left: files half written, and those of an entry that never became whole."""
        names = {entry.name for entry in os.scandir(self.folder) if entry.is_file(follow_symlinks=False)}
        for file_name in names:
            ours = self._ours.fullmatch(file_name)
            lacks_last = ours is not None and ours[1] + self._suffixes[-1] not in names
            if lacks_last or self._partial.fullmatch(file_name):
                (self.folder / file_name).unlink(missing_ok=True)


def stem_name(captured_at: float, kind: str, digits: str) -> str:
    """An entry's name without suffix; ``digits`` are six hexadecimal ones that tell apart what has one time."""
    return f"{time_name(captured_at)}-{kind}-{digits}"
