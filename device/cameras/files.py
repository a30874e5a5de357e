"""Sources that lie on disk: a video, one photo, a folder of photos. Every frame of them counts."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np

from device.cameras.base import Frame, Source
from device.contract import ColourOrder
from device.errors import CameraError, PhotoError
from device.preprocess import PHOTO_SUFFIXES, Pixels, decode


class VideoFile(Source):
    """A video file. Implements ``FrameSource``.

    Args:
        path: of the file.
        pace: give each frame when it is due, as a camera would: the file is live then.
        loop: begin again at the end.

    Raises:
        CameraError: no such file, or no video that the built-in FFmpeg can read.
    """

    def __init__(self, path: Path, pace: bool = False, loop: bool = False) -> None:
        if not path.is_file():
            raise CameraError(f"{path}: no such file")
        # A small picture does not need a decoder thread per core; they would compete with the model for cores.
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise CameraError(f"{path}: not a video that can be read; convert it to H.264 in MP4")
        self.live = pace
        self._path = path
        self._loop = loop
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._interval_s = 1 / rate if pace and 0 < rate <= 1000 else 0.0
        self._started: float | None = None
        self._interrupted = threading.Event()
        self._index = 0

    def read(self) -> Frame | None:
        """See ``FrameSource.read``. A file that is cut short ends early, as players show it."""
        start = time.perf_counter()
        ok, pixels = self._capture.read()
        if not ok and self._loop and self._index:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            ok, pixels = self._capture.read()
        if not ok:
            if self._index == 0:
                raise CameraError(f"{self._path}: the video holds no frame that can be read")
            return None
        decode_ms = (time.perf_counter() - start) * 1e3
        if self._interval_s and not self._wait():
            return None
        self._index += 1
        return _frame(np.asarray(pixels, np.uint8), self._index - 1, decode_ms, self._path.name)

    def interrupt(self) -> None:
        """See ``FrameSource.interrupt``."""
        self._interrupted.set()

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._capture.release()

    def _wait(self) -> bool:
        if self._started is None:
            self._started = time.monotonic()
        due = self._started + self._index * self._interval_s
        return not self._interrupted.wait(max(0.0, due - time.monotonic()))


class PhotoFiles(Source):
    """Photos in the order given. Implements ``FrameSource``.

    One that cannot be decoded is passed over and kept in ``skipped`` with the reason.

    Args:
        paths: the photos.
        root: what frame names are relative to.
    """

    live = False

    def __init__(self, paths: list[Path], root: Path) -> None:
        self._paths = paths
        self._root = root
        self._index = 0
        self.skipped: dict[str, str] = {}

    def read(self) -> Frame | None:
        """See ``FrameSource.read``.

        Raises:
            CameraError: the last photo has come and none could be decoded.
        """
        while self._index < len(self._paths):
            path = self._paths[self._index]
            index, self._index = self._index, self._index + 1
            start = time.perf_counter()
            try:
                pixels = decode(path.read_bytes())
                decode_ms = (time.perf_counter() - start) * 1e3
                return _frame(pixels, index, decode_ms, str(path.relative_to(self._root)))
            except (PhotoError, OSError) as err:
                self.skipped[str(path)] = str(err)
        if len(self.skipped) == len(self._paths):
            first, reason = next(iter(self.skipped.items()))
            raise CameraError(f"none of {len(self._paths)} photo(s) can be read; {first}: {reason}")
        return None


def open_photo(path: Path) -> PhotoFiles:
    """One photo as a source of one frame."""
    return PhotoFiles([path], path.parent)


def open_folder(folder: Path) -> PhotoFiles:
    """All photos under a folder, sub-folders too, in the order of their names.

    Raises:
        CameraError: it holds none.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise CameraError(f"{folder}: no photos in it; expected files such as {', '.join(sorted(PHOTO_SUFFIXES)[:4])}")
    return PhotoFiles(paths, folder)


def _frame(pixels: Pixels, index: int, decode_ms: float, name: str) -> Frame:
    return Frame(
        pixels=pixels,
        order=ColourOrder.BGR,
        index=index,
        captured_at=time.time(),
        captured_monotonic=time.monotonic(),
        decode_ms=decode_ms,
        name=name,
    )
