"""USB and other cameras that Linux shows as ``/dev/videoN``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from device.cameras.base import Frame, Source
from device.contract import ColourOrder
from device.errors import BadFrame, CameraError

# How a driver is told to choose by itself, or not to: values of V4L2's menu, and the property they belong to.
_CONTROLS = {"exposure": (3.0, 1.0, cv2.CAP_PROP_AUTO_EXPOSURE), "wb": (1.0, 0.0, cv2.CAP_PROP_AUTO_WB)}
_VALUES = {"exposure": cv2.CAP_PROP_EXPOSURE, "wb": cv2.CAP_PROP_WB_TEMPERATURE}


class V4l2Camera(Source):
    """A Video4Linux camera. Implements ``FrameSource``; live.

    Raises:
        CameraError: absent, no right to open it, in use, or no camera; each with the remedy.
    """

    live = True

    def __init__(
        self,
        device: Path,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        pixel_format: str | None = None,
        **controls: float | None,
    ) -> None:
        """
        Args:
            device: ``/dev/videoN``.
            width, height: pixels that are asked for; the driver takes its nearest.
            fps: frames a second that are asked for.
            pixel_format: four letters, e.g. ``MJPG``: less on the USB cable, more work for the CPU than ``YUYV``.
            controls: ``exposure`` (the driver's unit, mostly 100 microseconds) and ``wb`` (kelvins); None is automatic.
        """
        _check_access(device)
        self._device = device
        self._capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(
                f"{device}: does not open as a camera; another program may be using it (fuser {device}), "
                f"or it is a metadata node: try the device number before it"
            )
        # The format first: it decides which sizes and rates there are.
        if pixel_format is not None:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*f"{pixel_format:4.4}"))
        wanted = {cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: fps}
        for name, value in wanted.items():
            if value is not None:
                self._capture.set(name, value)
        for control, value in controls.items():
            self._control(control, value)
        # The driver's queue would hand over frames that are several periods old.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._index = 0

    def read(self) -> Frame | None:
        """See ``FrameSource.read``.

        Raises:
            CameraError: the camera stopped delivering.
            BadFrame: this frame could not be decoded.
        """
        start = time.perf_counter()
        if not self._capture.grab():
            raise CameraError(f"{self._device}: stopped delivering frames; check the cable and the power supply")
        captured_at, captured_monotonic = time.time(), time.monotonic()
        ok, pixels = self._capture.retrieve()
        if not ok:
            raise BadFrame(
                f"{self._device}: a frame could not be decoded; try another resolution (?width=640&height=480)"
            )
        self._index += 1
        decode_ms = (time.perf_counter() - start) * 1e3
        picture = np.asarray(pixels, np.uint8)
        return Frame(picture, ColourOrder.BGR, self._index - 1, captured_at, captured_monotonic, decode_ms)

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._capture.release()

    def _control(self, control: str, value: float | None) -> None:
        automatic, manual, setting = _CONTROLS[control]
        done = self._capture.set(setting, manual if value is not None else automatic)
        if value is not None:
            done = self._capture.set(_VALUES[control], value) and done
        if not done:
            self._capture.release()
            raise CameraError(f"{self._device}: its driver has no '{control}' that can be set; leave the option out")


def find_device(address: str, machine: Path = Path("/")) -> Path:
    """The device that is meant: ``0``, ``/dev/video0``, ``/dev/v4l/by-id/...``, or ``v4l2:`` and a part of its name,
    that of its driver or in ``/dev/v4l/by-id``, which tells two of a kind apart.

    Args:
        address: see above.
        machine: root of the file system to look in.

    Raises:
        CameraError: no camera of that name, or several; lists those that are there.
    """
    if address.isdigit():
        return Path(f"/dev/video{address}")
    if not address.startswith("v4l2:"):
        return Path(address)
    wanted = address.partition(":")[2].casefold()
    names = camera_names(machine)
    by_id = {link.resolve(): link.name for link in (machine / "dev/v4l/by-id").glob("*")}
    found = [each for each, name in names.items() if wanted in f"{name}\n{by_id.get(each, '')}".casefold()]
    if len(found) == 1 and wanted:
        return found[0]
    listed = ", ".join(f"{each} ({by_id.get(each, name)})" for each, name in names.items()) or "none"
    what = "several cameras" if found else "no camera"
    raise CameraError(f"{address}: {what} of that name; present: {listed}")


def camera_names(machine: Path = Path("/")) -> dict[Path, str]:
    """The cameras by number, each with the name that its driver gives, without their nodes for metadata."""
    names = {}
    for device in camera_devices(machine):
        about = machine / "sys/class/video4linux" / device.name
        try:
            first = (about / "index").read_text().strip() in ("", "0")
            name = (about / "name").read_text().strip()
        except OSError:
            first, name = True, ""
        if first:
            names[device] = name
    return names


def camera_devices(machine: Path = Path("/")) -> list[Path]:
    """The ``/dev/videoN`` of this machine, by number. Some may be metadata nodes, not cameras."""
    found = [path for path in (machine / "dev").glob("video*") if path.name[5:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _check_access(device: Path) -> None:
    if not device.exists():
        present = ", ".join(str(path) for path in camera_devices()) or "none"
        raise CameraError(f"{device}: no such camera; present: {present}. Plug it in, or name another with --camera")
    if not os.access(device, os.R_OK | os.W_OK):
        raise CameraError(f"{device}: no right to open it; run 'sudo usermod -aG video $USER' and log in again")
