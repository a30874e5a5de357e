"""Decoded photos on disk: each is decoded once per preprocessing, whatever is trained on it afterwards.

One folder per ``PreprocessSpec`` holds ``pixels.u8``, rows of height x width x 3 bytes, and ``index.txt``, one
sha256 per row. Rows are only ever appended, pixels before their index line, so a kill leaves whole rows or a tail
that the next writer cuts off.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.contract import PreprocessSpec
from pipeline.errors import PipelineError

# Raised whenever device.preprocess changes what it computes.
_PREPROCESS_VERSION = 1
_DIGEST_LENGTH = 64


def cache_root() -> Path:
    """``$EDGEGRAFT_CACHE``, else ``edgegraft`` in the user's cache folder. It may be deleted at any time."""
    named = os.environ.get("EDGEGRAFT_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgegraft"


class PixelCache:
    """Pixels by content hash, for one preprocessing.

    Args:
        root: see ``cache_root``.
        spec: what made the pixels.
    """

    def __init__(self, root: Path, spec: PreprocessSpec) -> None:
        described = msgspec.json.encode((_PREPROCESS_VERSION, spec))
        self._folder = root / "pixels" / hashlib.sha256(described).hexdigest()[:16]
        self._shape = (spec.height, spec.width, 3)
        self._row_bytes = spec.height * spec.width * 3
        self._pixels = self._folder / "pixels.u8"
        self._index = self._folder / "index.txt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise self._unusable(err) from err

    def rows(self) -> dict[str, int]:
        """Row by sha256 of every photo held."""
        lines = self._index.read_text().split() if self._index.exists() else []
        return {digest: row for row, digest in enumerate(lines) if len(digest) == _DIGEST_LENGTH}

    def pixels(self) -> NDArray[np.uint8]:
        """All rows, (rows, height, width, 3) uint8, memory-mapped read-only."""
        count = self._pixels.stat().st_size // self._row_bytes if self._pixels.exists() else 0
        if count == 0:
            return np.empty((0, *self._shape), np.uint8)
        return np.memmap(self._pixels, np.uint8, "r", shape=(count, *self._shape))

    @contextmanager
    def writer(self) -> Iterator[CacheWriter]:
        """The right to append; other processes wait for it.

        Raises:
            PipelineError: the folder cannot be written to.
        """
        try:
            held = (self._folder / "lock").open("w")
        except OSError as err:
            raise self._unusable(err) from err
        with held as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._cut_to_whole_rows()
            with self._pixels.open("ab") as pixels, self._index.open("a") as index:
                yield CacheWriter(known, pixels, index)

    def _unusable(self, err: OSError) -> PipelineError:
        return PipelineError(f"{self._folder}: {err.strerror}; name another folder with EDGEGRAFT_CACHE")

    def _cut_to_whole_rows(self) -> dict[str, int]:
        for path in (self._pixels, self._index):
            path.touch()
        held = min(self._pixels.stat().st_size // self._row_bytes, self._index.stat().st_size // (_DIGEST_LENGTH + 1))
        os.truncate(self._pixels, held * self._row_bytes)
        os.truncate(self._index, held * (_DIGEST_LENGTH + 1))
        return self.rows()


class CacheWriter:
    """Appends photos; made by ``PixelCache.writer``. ``rows`` is kept up to date."""

    def __init__(self, rows: dict[str, int], pixels: IO[bytes], index: IO[str]) -> None:
        self.rows = rows
        self._pixels = pixels
        self._index = index

    def add(self, sha256: str, pixels: NDArray[np.uint8]) -> int:
        """Append one photo's (height, width, 3) uint8 and return its row."""
        self._pixels.write(pixels.tobytes())
        self._pixels.flush()
        self._index.write(sha256 + "\n")
        self._index.flush()
        self.rows[sha256] = len(self.rows)
        return self.rows[sha256]
