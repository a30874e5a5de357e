"""What goes to many boards, made once: wheels per platform, and the hash of every file."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
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


class Parcels:
    """May be asked by several boards at once."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self._lock = threading.Lock()
        self._wheels: dict[tuple[object, ...], Wheels] = {}
        self._digests: dict[Path, str] = {}

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

    def __enter__(self) -> Parcels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.cleanup()
