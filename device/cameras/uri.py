"""From a camera URI to what it means, and to an open FrameSource."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from device.cameras.address import parse_address, redacted
from device.cameras.base import FrameSource
from device.cameras.files import VideoFile, open_folder, open_photo
from device.cameras.options import Kind, read_options
from device.cameras.programs import Program, csi_program, gst_program
from device.cameras.spec import CameraSpec
from device.cameras.v4l2 import V4l2Camera, find_device
from device.errors import CameraError
from device.preprocess import PHOTO_SUFFIXES

CAMERA_EXAMPLES = (
    "0, /dev/video0, v4l2:NAME, csi:0, rtsp://HOST/PATH, http://HOST/PATH, gst:PIPELINE, film.mp4, photo.jpg, folder/ "
    "or scene:"
)
_NETWORK = ("http", "https", "rtsp", "rtsps")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
# Where neither the URI nor the model says how large: what every camera has.
_USUAL_SIZE = (480, 640)
_USUAL_FPS = 30.0

Options = dict[str, Any]


def parse_camera(uri: str, want: tuple[int, int] | None = None) -> CameraSpec:
    """Say what a URI means, without opening anything.

    Options (``device.cameras.options``) stand behind ``#``, or behind ``?`` where the camera has no query of its own.

    Args:
        uri: ``0``, ``/dev/video0`` or ``v4l2:NAME``; ``csi:0``; ``rtsp(s)://`` and ``http(s)://``; ``gst:`` and a
            pipeline without its sink; a film, photo or folder of photos; or ``scene:`` (virtual).
        want: (height, width) in pixels near which pictures are wanted; sources that can send or decode smaller ones do.

    Raises:
        CameraError: not understood, or no such file; the message says what to do.
    """
    if (file := _file(uri)) is not None:
        return file
    address, options_text = _split(uri)
    kind = _kind(uri, address)
    options = read_options(uri, options_text, kind)
    if kind is Kind.SCENE:
        # Drawn pictures cost a start 20 ms of imports.
        from device.cameras.scene import SceneCamera

        live = options.get("live", True)
        own = _named(options, "seed", "fps", "frames", "width", "height", "live")
        SceneCamera(**own).close()
        return _spec(uri, live, partial(SceneCamera, **own), options)
    if kind is Kind.GST:
        _gst_program(address, options, want)
    return _spec(address, True, partial(_OPENERS[kind], address, options, want), options)


def open_camera(uri: str) -> FrameSource:
    """Open a camera; see ``parse_camera``.

    Raises:
        CameraError: not understood, or it does not open; the message says what to do.
    """
    return parse_camera(uri).open()


def _split(uri: str) -> tuple[str, str]:
    if _scheme(uri) in _NETWORK:  # their query is the camera's
        # Refused with what is wrong, and without quoting it, before a password's '#' is taken for the options'.
        parse_address(uri, _NETWORK)
        if _cuts_password(uri):
            raise CameraError(f"{_scheme(uri)}://...: a '#' in the password; write it as %23")
        address, _, fragment = uri.partition("#")
        return address, fragment
    if uri.startswith("gst:"):  # a pipeline may hold anything, its options stand at the end
        address, _, fragment = uri.rpartition("#") if "#" in uri else (uri, "", "")
        return address, fragment
    match = re.search(r"[?#]", uri)
    return (uri[: match.start()], uri[match.end() :]) if match else (uri, "")


def _scheme(uri: str) -> str:
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def _cuts_password(uri: str) -> bool:
    address, _, rest = uri.partition("#")
    return "@" in rest and "/" not in address.partition("://")[2]


def _kind(uri: str, address: str) -> Kind:
    if address == "scene:":
        return Kind.SCENE
    if address.isdigit() or address.startswith(("/dev/video", "/dev/v4l/", "v4l2:")):
        return Kind.V4L2
    scheme, (_, colon, rest) = _scheme(address), address.partition(":")
    if scheme == "csi" and colon and rest.isdigit():
        return Kind.CSI
    if scheme == "gst" and colon:
        return Kind.GST
    if scheme in _NETWORK:
        return Kind.RTSP if scheme.startswith("rtsp") else Kind.HTTP
    if scheme:
        raise CameraError(f"cameras of the kind '{scheme}:' are not supported; expected {CAMERA_EXAMPLES}")
    raise CameraError(f"{redacted(uri)}: no such file or camera; expected {CAMERA_EXAMPLES}")


def _file(uri: str) -> CameraSpec | None:
    found = _existing(uri)
    if found is None:
        return None
    path, options_text = found
    if path.is_dir() or path.suffix.lower() in PHOTO_SUFFIXES:
        options = read_options(uri, options_text, Kind.PHOTOS)
        return _spec(str(path), False, partial(open_folder if path.is_dir() else open_photo, path), options)
    options = read_options(uri, options_text, Kind.FILM)
    own = _named(options, "pace", "loop")
    return _spec(str(path), options.get("pace", False), partial(VideoFile, path, **own), options)


def _existing(uri: str) -> tuple[Path, str] | None:
    # A file may have ? and # in its name: the longest name that exists is meant.
    ends = [len(uri), *sorted((match.start() for match in re.finditer(r"[?#]", uri)), reverse=True)]
    for end in ends if uri and not uri.startswith("/dev/") else ():
        path = Path(uri[:end])
        try:
            if end and (path.is_dir() or path.is_file()):
                return path, uri[end + 1 :]
        except (OSError, ValueError):  # longer than a name can be, or with a NUL
            continue
    return None


def _open_v4l2(address: str, options: Options, want: tuple[int, int] | None) -> FrameSource:
    own = _named(options, "width", "height", "fps", "exposure", "wb", format="pixel_format")
    return V4l2Camera(find_device(address), **own)


def _open_csi(address: str, options: Options, want: tuple[int, int] | None) -> FrameSource:
    from device.cameras.child import ChildCamera

    number, rate = int(address.partition(":")[2]), options.get("fps", _USUAL_FPS)
    picture = (options.get("exposure"), options.get("white-balance"))
    return ChildCamera(csi_program(number, _size(options, want), rate, *picture, address), options.get("timeout", 10.0))


def _open_gst(address: str, options: Options, want: tuple[int, int] | None) -> FrameSource:
    from device.cameras.child import ChildCamera

    return ChildCamera(_gst_program(address, options, want), options.get("timeout", 10.0))


def _gst_program(address: str, options: Options, want: tuple[int, int] | None) -> Program:
    return gst_program(address.partition(":")[2], options.get("width"), options.get("height"), want)


def _open_rtsp(address: str, options: Options, want: tuple[int, int] | None) -> FrameSource:
    from device.cameras.rtsp import RtspCamera

    own = _named(options, "fps", "transport", timeout="timeout_s")
    return RtspCamera(address, want=want, **own)


def _open_http(address: str, options: Options, want: tuple[int, int] | None) -> FrameSource:
    # TLS and the HTTP client are loaded only where they are used.
    from device.cameras.http import open_http

    return open_http(address, want=want, **_named(options, "fps", timeout="timeout_s"))


_OPENERS: dict[Kind, Callable[[str, Options, tuple[int, int] | None], FrameSource]] = {
    Kind.V4L2: _open_v4l2,
    Kind.CSI: _open_csi,
    Kind.GST: _open_gst,
    Kind.RTSP: _open_rtsp,
    Kind.HTTP: _open_http,
}


def _size(options: Options, want: tuple[int, int] | None) -> tuple[int, int]:
    height, width = _USUAL_SIZE
    if want is not None:
        # As wide as is needed for the wanted height at the usual shape, for the model crops the middle.
        scale = max(want[0] / height, want[1] / width)
        height, width = round(height * scale), round(width * scale)
    return options.get("height", height), options.get("width", width)


def _named(options: Options, *names: str, **renamed: str) -> Options:
    chosen = {name: options[name] for name in names if name in options}
    return {**chosen, **{new: options[name] for name, new in renamed.items() if name in options}}


def _spec(name: str, live: bool, open_it: Callable[[], FrameSource], options: Options) -> CameraSpec:
    roi, rotate, flip = options.get("roi"), options.get("rotate", 0), options.get("flip", "")

    def open_transformed() -> FrameSource:
        from device.cameras.transform import Transform, TransformedSource

        return TransformedSource(open_it(), Transform(roi, rotate, flip))

    opener = open_transformed if roi or rotate or flip else open_it
    return CameraSpec(options.get("name") or redacted(name), live, opener, options["region"], options.get("fps"))
