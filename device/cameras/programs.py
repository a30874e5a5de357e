"""The programs that read cameras for ``ChildCamera``, with their arguments.

Raspberry Pi: ``rpicam-vid`` (``libcamera-vid`` before Debian 12); Jetson: ``gst-launch-1.0 nvarguscamerasrc``; any
other pipeline by ``gst-launch-1.0`` too. All write I420: half the bytes of BGR, and unlike MJPEG nothing to encode,
which a Raspberry Pi 5 does on the CPU. GStreamer wraps it in YUV4MPEG2, whose header tells the size.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from device.errors import CameraError

# libcamera pads rows to 64 bytes, in the half-size planes too: such widths have no padding.
_STEP = 128
# The same for GStreamer, which pads to 4; and a limit, as ranges in its caps have one.
_GST_WIDTHS, _GST_HEIGHTS = "[8,{most},8]", "[2,{most},2]"
MOST_SIDE = 16384
_WIDEST = 16 / 9
_VISIBLE_SECRET = re.compile(r"://[^/\s!]*@|\b(?:user-pw|proxy-pw|password|passphrase|secret-key)\s*=", re.IGNORECASE)
# To the numbers of nvarguscamerasrc's wbmode; rpicam-vid knows the names.
WHITE_BALANCES = {"incandescent": 2, "fluorescent": 3, "daylight": 5, "cloudy": 6}


@dataclass(frozen=True, slots=True)
class Program:
    """What is run.

    Attributes:
        argv: program and arguments; it writes I420 frames without padding to standard output.
        name: of the camera, for messages.
        package: that brings the program.
        size: (height, width) in pixels, both even; None: it writes YUV4MPEG2, which tells.
    """

    argv: tuple[str, ...]
    name: str
    package: str
    size: tuple[int, int] | None = None


def csi_program(
    number: int,
    size: tuple[int, int],
    fps: float,
    exposure_us: float | None = None,
    white_balance: str | None = None,
    name: str = "csi",
) -> Program:
    """The camera on a ribbon cable: of a Raspberry Pi or, where NVIDIA's source is, of a Jetson.

    Args:
        number: of the camera.
        size: (height, width) in pixels; made larger to what the program writes without padding.
        fps: frames a second.
        exposure_us: microseconds; None is automatic.
        white_balance: one of ``WHITE_BALANCES``; None is automatic.
        name: for messages.

    Raises:
        CameraError: neither program is here; names the package.
    """
    for program in ("rpicam-vid", "libcamera-vid"):
        if shutil.which(program):
            height, width = 2 * math.ceil(size[0] / 2), _STEP * math.ceil(size[1] / _STEP)
            argv = [program, "--camera", str(number), "--timeout", "0", "--nopreview", "--verbose", "0"]
            argv += ["--codec", "yuv420", "--width", str(width), "--height", str(height), "--framerate", f"{fps:g}"]
            argv += ["--shutter", f"{exposure_us:.0f}"] if exposure_us is not None else []
            argv += ["--awb", white_balance] if white_balance is not None else []
            return Program((*argv, "--flush", "--output", "-"), name, "rpicam-apps", (height, width))
    if shutil.which("gst-launch-1.0") and Path("/etc/nv_tegra_release").exists():
        return gst_program(jetson_pipeline(number, size, fps, exposure_us, white_balance), name=name)
    raise CameraError(
        f"{name}: no program reads this camera; on a Raspberry Pi run 'sudo apt-get install rpicam-apps', "
        f"on a Jetson install NVIDIA's multimedia packages and gstreamer1.0-tools"
    )


def jetson_pipeline(
    number: int, size: tuple[int, int], fps: float, exposure_us: float | None, white_balance: str | None
) -> str:
    """The pipeline of a Jetson's camera, as ``gst_program`` takes it; scaled by the hardware, ``size`` as there."""
    height, width = 2 * math.ceil(size[0] / 2), 8 * math.ceil(size[1] / 8)
    source = f"nvarguscamerasrc sensor-id={number}"
    if exposure_us is not None:
        source += f" exposuretimerange='{exposure_us * 1e3:.0f} {exposure_us * 1e3:.0f}'"
    if white_balance is not None:
        source += f" wbmode={WHITE_BALANCES[white_balance]}"
    sensor = f"'video/x-raw(memory:NVMM)',framerate={round(fps)}/1"
    return f"{source} ! {sensor} ! nvvidconv ! video/x-raw,format=I420,width={width},height={height}"


def gst_program(
    pipeline: str,
    width: int | None = None,
    height: int | None = None,
    want: tuple[int, int] | None = None,
    name: str = "gst",
) -> Program:
    """Any GStreamer pipeline, up to but without its sink.

    Args:
        pipeline: as behind ``gst-launch-1.0``, e.g. ``videotestsrc ! video/x-raw,framerate=10/1``.
        width, height: pixels to scale to; one alone keeps the shape.
        want: (height, width) near which larger pictures are scaled down, in their shape.
        name: for messages.

    Raises:
        CameraError: empty, quotes that do not match, or with a password in it, which the process list would show.
    """
    if _VISIBLE_SECRET.search(pipeline):
        raise CameraError(
            f"{name}: a password in a pipeline would stand in the process list for all to see; "
            f"use rtsp://USER:PASSWORD@HOST/PATH or http://... as the camera instead"
        )
    try:
        words = shlex.split(pipeline)
    except ValueError as err:
        raise CameraError(f"{name}: {err}; expected a pipeline as gst-launch-1.0 takes it") from err
    if not words:
        raise CameraError(f"{name}: an empty pipeline; expected e.g. gst:v4l2src ! decodebin")
    most = MOST_SIDE if want is None or width or height else 8 * math.ceil(_WIDEST * max(want) / 8)
    columns = 8 * math.ceil(width / 8) if width else _GST_WIDTHS.format(most=most)
    rows = 2 * math.ceil(height / 2) if height else _GST_HEIGHTS.format(most=most)
    # Both sides given: the picture is stretched; black borders would be something that no photo in training had.
    shape = "" if width and height else ",pixel-aspect-ratio=1/1"
    # OpenCV converts by BT.601 whatever the size.
    caps = f"video/x-raw,format=I420,colorimetry=bt601,width={columns},height={rows}{shape}"
    tail = ("!", "videoscale", "add-borders=false", "!", "videoconvert", "!", caps, "!", "y4menc")
    argv = ("gst-launch-1.0", "-q", *words, *tail, "!", "fdsink", "fd=1", "sync=false")
    return Program(argv, name, "gstreamer1.0-tools gstreamer1.0-plugins-good")
