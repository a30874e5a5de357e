"""What goes to many boards, made once: wheels per platform, and the hash of every file."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from export.flash.board_places import runtime_key
from export.flash.probe import BoardInfo
from export.flash.wheelhouse import build_wheelhouse


@dataclass(frozen=True, slots=True)
class Wheels:
    """For one platform.

    Attributes:
        paths: of the wheels; they last as long as the ``Parcels``.
        key: of the runtime that they make there.
    """

    paths: tuple[Path, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file for a board.

    Attributes:
        path: here.
        name: there, under ``board_places.HOME``.
        sha256: in hexadecimal.
    """

    path: Path
    name: str
    sha256: str

    @property
    def part(self) -> str:
        """What has come of it is kept under this name; another file's part is never taken for its own."""
        return f"{self.name}.{self.sha256[:16]}.part"


class Parcels:
    """May be asked by several boards at once."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self._lock = threading.Lock()
        self._wheels: dict[tuple[object, ...], Wheels] = {}
        self._digests: dict[Path, str] = {}
        self._joined: dict[tuple[tuple[Path, int], ...], Path] = {}

    def wheels(self, info: BoardInfo, say: Callable[[str], None]) -> Wheels:
        """Those that fit the board.

        Raises:
            ExportError: there are none, or pip fails.
        """
        platform = (info.program, info.python, info.machine, info.glibc)
        # Whoever asks second waits: pip fetches once.
        with self._lock:
            if platform not in self._wheels:
                folder = Path(self._scratch.name) / str(len(self._wheels))
                found = build_wheelhouse(folder, info.python, info.machine, glibc=info.glibc, on_line=say)
                digests = [(wheel.name, self.digest(wheel)) for wheel in found]
                key = runtime_key(info.program, info.python, digests)
                self._wheels[platform] = Wheels(tuple(found), key)
            return self._wheels[platform]

    def digest(self, path: Path) -> str:
        """sha256 of a file that does not change meanwhile, in hexadecimal."""
        if path not in self._digests:
            self._digests[path] = sha256(path.read_bytes()).hexdigest()
        return self._digests[path]

    def parcel(self, path: Path, name: str) -> Parcel:
        """A file as it is to be called there."""
        return Parcel(path, name, self.digest(path))

    def joined(self, rests: Sequence[tuple[Path, int]]) -> Path:
        """A file with one rest after the other, each from its byte on; it lasts as long as this does.

        Boards that lack the same get the same.
        """
        key = tuple(rests)
        with self._lock:
            if key not in self._joined:
                target = Path(self._scratch.name) / f"joined-{len(self._joined)}"
                with target.open("wb") as sink:
                    for path, start in key:
                        with path.open("rb") as source:
                            source.seek(start)
                            shutil.copyfileobj(source, sink)
                self._joined[key] = target
            return self._joined[key]

    def __enter__(self) -> Parcels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.cleanup()
