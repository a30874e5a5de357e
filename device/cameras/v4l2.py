"""USB and other cameras that Linux shows as ``/dev/videoN``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from device.cameras.base import Frame
from device.closing import Closing
from device.contract import ColourOrder
from device.errors import CameraError


class V4l2Camera(Closing):
    """A Video4Linux camera. Implements ``FrameSource``; live.

    Raises:
        CameraError: absent, no right to open it, in use, or no camera; each with the remedy.
    """

    live = True

    def __init__(
        self, device: Path, width: int | None = None, height: int | None = None, fps: float | None = None
    ) -> None:
        _check_access(device)
        self._device = device
        self._capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(
                f"{device}: does not open as a camera; another program may be using it (fuser {device}), "
                f"or it is a metadata node: try the device number before it"
            )
        wanted = {cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: fps}
        for name, value in wanted.items():
            if value is not None:
                self._capture.set(name, value)
        # The driver's queue would hand over frames that are several periods old.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._index = 0

    def read(self) -> Frame | None:
        """See ``FrameSource.read``.

        Raises:
            CameraError: the camera stopped delivering.
        """
        start = time.perf_counter()
        if not self._capture.grab():
            raise CameraError(f"{self._device}: stopped delivering frames; check the cable and the power supply")
        captured_at, captured_monotonic = time.time(), time.monotonic()
        ok, pixels = self._capture.retrieve()
        if not ok:
            raise CameraError(
                f"{self._device}: a frame could not be decoded; try another resolution (?width=640&height=480)"
            )
        self._index += 1
        decode_ms = (time.perf_counter() - start) * 1e3
        picture = np.asarray(pixels, np.uint8)
        return Frame(picture, ColourOrder.BGR, self._index - 1, captured_at, captured_monotonic, decode_ms)

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._capture.release()


def camera_devices() -> list[Path]:
    """The ``/dev/videoN`` of this machine, by number. Some may be metadata nodes, not cameras."""
    found = [path for path in Path("/dev").glob("video*") if path.name[5:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _check_access(device: Path) -> None:
    if not device.exists():
        present = ", ".join(str(path) for path in camera_devices()) or "none"
        raise CameraError(f"{device}: no such camera; present: {present}. Plug it in, or name another with --camera")
    if not os.access(device, os.R_OK | os.W_OK):
        raise CameraError(f"{device}: no right to open it; run 'sudo usermod -aG video $USER' and log in again")
