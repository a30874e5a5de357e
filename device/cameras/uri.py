"""From a camera URI to an open FrameSource."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from device.cameras.base import FrameSource
from device.cameras.files import VideoFile, open_folder, open_photo
from device.cameras.scene import SceneCamera
from device.cameras.v4l2 import V4l2Camera
from device.errors import CameraError
from device.preprocess import PHOTO_SUFFIXES

_EXAMPLES = "0, /dev/video0, film.mp4, photo.jpg, folder/ or scene:"
_SCENE_OPTIONS = {"seed": int, "fps": float, "frames": int, "width": int, "height": int, "live": bool}
_V4L2_OPTIONS = {"width": int, "height": int, "fps": float}
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def open_camera(uri: str) -> FrameSource:
    """Open a camera.

    Args:
        uri: ``0`` or ``/dev/video0`` (options ``?width=640&height=480&fps=30``), a video file, a photo, a folder of
            photos, or ``scene:`` (virtual; options ``?seed=0&fps=25&frames=100&width=640&height=480&live=1``).

    Raises:
        CameraError: not understood, or it does not open; the message says what to do.
    """
    path = Path(uri)
    if uri and path.is_dir():  # Path("") is the current folder
        return open_folder(path)
    if path.is_file():
        return open_photo(path) if path.suffix.lower() in PHOTO_SUFFIXES else VideoFile(path)
    address, _, query = uri.partition("?")
    if address == "scene:":
        return SceneCamera(**_options(uri, query, _SCENE_OPTIONS))
    if address.isdigit() or address.startswith("/dev/video"):
        device = Path(f"/dev/video{address}") if address.isdigit() else Path(address)
        return V4l2Camera(device, **_options(uri, query, _V4L2_OPTIONS))
    if "://" in address or address.startswith("csi:"):
        scheme = address.partition(":")[0]
        raise CameraError(f"cameras of the kind '{scheme}:' are not supported yet; expected {_EXAMPLES}")
    raise CameraError(f"{uri}: no such file or camera; expected {_EXAMPLES}")


def _options(uri: str, query: str, known: dict[str, type]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise CameraError(f"{uri}: unknown option '{name}'; known are: {', '.join(known)}")
        try:
            values[name] = _BOOLEANS[text.lower()] if known[name] is bool else known[name](text)
        except (KeyError, ValueError) as err:
            raise CameraError(f"{uri}: '{name}' is {text!r}, expected {known[name].__name__}") from err
        if known[name] is not bool and name != "seed" and not 0 < values[name] < 1e6:
            raise CameraError(f"{uri}: '{name}' is {text}, expected a number above 0")
    return values
