"""A folder of photos per class that grows picture by picture: what ``edgegraft train`` takes.

``folder/<class>/<time>-<hash>.jpg``: names sort by time, in UTC, and say whether a file is ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import unicodedata
from collections import deque
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.cameras.base import Frame
from device.contract import ColourOrder
from device.errors import DeviceError, PhotoError
from device.preprocess import PHOTO_SUFFIXES, Pixels, decode

UNKNOWN_FOLDER = "_unknown"

_MOST_LABEL_BYTES = 100
_OURS = re.compile(r"\d{8}T\d{6}\.\d{3}Z-([0-9a-f]{16})\.jpg")
# A new picture is compared with so many of its class, the newest; after a start as many are read again.
_RECENT = 32
# A picture is looked at as so many cells a side. Averaged over a cell, a sensor's noise is under one step of 255 and a
# JPEG's rounding under two; a leaf that moved changes a cell by ten and more.
_CELLS = 24
_SAME_STEPS = 8

Look = NDArray[np.int16]


class InAnotherClassError(DeviceError):
    """The very picture lies under another class."""


class Collection:
    """Saves frames under classes. Thread-safe.

    A picture that hardly differs from one of the last of its class is not saved: it would teach nothing, and on both
    sides of a split it would flatter the result.

    Args:
        folder: of the classes; made with the first picture.
        quality: of the JPEG files, 1 to 100.

    Raises:
        DeviceError: the quality is out of its range.
    """

    def __init__(self, folder: Path, quality: int = 95) -> None:
        if not 1 <= quality <= 100:
            raise DeviceError(f"JPEG quality is {quality}, expected 1 to 100")
        self.folder = folder
        self._quality = quality
        self._lock = threading.Lock()
        self._recent: dict[str, deque[tuple[Path, Look]]] = {}
        self._paths: dict[str, Path] | None = None

    def save(self, frame: Frame, label: str) -> Path | None:
        """Write a frame as ``folder/<label>/<time>-<hash>.jpg``; it is there whole or not at all.

        Returns:
            the file, or None when it is a near-duplicate of a recent one or the very picture is there already.

        Raises:
            InAnotherClassError: one photo cannot be of two classes, and ``edgegraft train`` would refuse the folder.
            DeviceError: the label cannot name a folder, or the picture cannot be written.
        """
        label = check_label(label)
        pixels = bgr(frame)
        look, data = look_of(pixels), jpeg(pixels, self._quality)
        digest = hashlib.sha256(data).hexdigest()[:16]
        with self._lock:
            try:
                return self._add(frame.captured_at, label, look, data, digest)
            except OSError as err:
                raise DeviceError(
                    f"{self.folder / label}: {err.strerror}; free some space, or name a folder that can be written"
                ) from err

    def counts(self) -> dict[str, int]:
        """Photos by class, as they lie in the folder now, in the order of the names."""
        try:
            folders = sorted(each.name for each in os.scandir(self.folder) if each.is_dir() and each.name[0] != ".")
            return {name: _photos_in(self.folder / name) for name in folders}
        except FileNotFoundError:
            return {}
        except OSError as err:
            raise DeviceError(f"{self.folder}: {err.strerror}; name a folder that can be read") from err

    def _add(self, captured_at: float, label: str, look: Look, data: bytes, digest: str) -> Path | None:
        if self._paths is None:
            self._paths = _saved_before(self.folder)
        before = self._paths.get(digest)
        # A person may have removed it, for it was of the wrong class.
        if before is not None and before.exists():
            other = unicodedata.normalize("NFC", before.parent.name)
            if other == label:
                return None
            raise InAnotherClassError(
                f"this very picture is in '{other}' already, and one photo cannot be of two classes; "
                f"remove {other}/{before.name} first, or save another picture"
            )
        recent = self._recent.get(label)
        if recent is None:
            recent = self._recent[label] = deque(_looks_in(self.folder / label), _RECENT)
        if any(is_same(look, past) and path.exists() for path, past in recent):
            return None
        folder = self.folder / label
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{time_name(captured_at)}-{digest}.jpg"
        write_whole(path, data)
        self._paths[digest] = path
        recent.append((path, look))
        return path


def check_label(label: str) -> str:
    """A class's name as the folder it will be, in Unicode's composed form.

    Raises:
        DeviceError: it cannot name a folder that ``edgegraft train`` would take as a class.
    """
    name = unicodedata.normalize("NFC", label)
    if not name or name != name.strip():
        raise _refused(label, "is empty, or begins or ends with a space")
    if not name.isprintable():
        raise _refused(label, "holds a character that cannot be seen")
    if "/" in name or "\\" in name:
        raise _refused(label, "holds a slash, which would make folders of it")
    if name.startswith("."):
        raise _refused(label, "begins with a dot, and hidden folders are no classes")
    if name.startswith("_") and name != UNKNOWN_FOLDER:
        raise _refused(label, f"begins with an underscore; only {UNKNOWN_FOLDER}, for things of no class, does")
    if len(name.encode()) > _MOST_LABEL_BYTES:
        raise _refused(label[:20] + "...", f"is longer than {_MOST_LABEL_BYTES} bytes")
    return name


def bgr(frame: Frame) -> Pixels:
    """A frame's pixels, (height, width, 3) uint8 BGR; not a copy where they are that already."""
    if frame.order is ColourOrder.BGR:
        return frame.pixels
    return cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR)  # type: ignore[return-value]


def look_of(pixels: Pixels) -> Look:
    """(cells, cells, 3) int16: the colours of a grid over the picture, to compare pictures by."""
    return cv2.resize(pixels, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.int16)


def is_same(one: Look, other: Look) -> bool:
    """Whether two pictures differ nowhere by more than noise."""
    return int(np.abs(one - other).max()) <= _SAME_STEPS


def jpeg(pixels: Pixels, quality: int) -> bytes:
    """A (height, width, 3) uint8 BGR picture as a JPEG file.

    Raises:
        DeviceError: OpenCV cannot encode it, e.g. for it is larger than 65,500 pixels a side.
    """
    try:
        encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:
        encoded, data = False, np.empty(0, np.uint8)
    if not encoded:
        raise DeviceError(f"a picture of shape {pixels.shape} cannot be encoded as JPEG; ask the camera for a smaller")
    return data.tobytes()


def time_name(captured_at: float) -> str:
    """Seconds since 1970 as a part of a file's name, e.g. ``20260714T101112.345Z``; names sort by time."""
    moment = datetime.fromtimestamp(captured_at, timezone.utc)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03}Z"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Raises:
        OSError: it cannot be written; nothing of it stays.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _refused(label: str, why: str) -> DeviceError:
    return DeviceError(f"class {label!r} {why}; use a plain name such as 'rose'")


def _photos_in(folder: Path) -> int:
    return sum(
        Path(entry.name).suffix.lower() in PHOTO_SUFFIXES and entry.name[0] != "." for entry in os.scandir(folder)
    )


def _saved_before(root: Path) -> dict[str, Path]:
    """Every picture of ours, by the hash in its name."""
    found = {}
    for path in root.glob("*/*.jpg"):
        ours = _OURS.fullmatch(path.name)
        if ours:
            found[ours[1]] = path
    return found


def _looks_in(folder: Path) -> list[tuple[Path, Look]]:
    """The newest pictures of ours, oldest first; one that cannot be read is left out."""
    looks = []
    for path in sorted(path for path in folder.glob("*.jpg") if _OURS.fullmatch(path.name))[-_RECENT:]:
        try:
            looks.append((path, look_of(decode(path.read_bytes()))))
        except (PhotoError, OSError):
            continue
    return looks
