"""The options of a camera's URI: one table, from which also the messages come."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl

from device.cameras.address import redacted
from device.cameras.programs import MOST_SIDE, WHITE_BALANCES
from device.cameras.spec import MOST_REGIONS, Region
from device.errors import CameraError

_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PIXEL_FORMAT = re.compile(r"[A-Za-z0-9]{4,5}")
_WORD = re.compile(r"[a-z-]{1,16}")
_MOST = 1e6


class Kind(Enum):
    """What reads a camera."""

    V4L2 = "v4l2"
    CSI = "csi"
    GST = "gst"
    RTSP = "rtsp"
    HTTP = "http"
    FILM = "film"
    PHOTOS = "photos"
    SCENE = "scene"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: what it is read by, what is expected, and which kinds take it."""

    read: Callable[[str], Any]
    expected: str
    kinds: frozenset[Kind]


def _flag(text: str) -> bool:
    return _BOOLEANS[text.lower()]


def _above_zero(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not 0 < value < _MOST:
            raise ValueError(text)
        return value

    return read


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    return read


def _turn(text: str) -> int:
    return int(_one_of("0", "90", "180", "270")(text))


def _pixel_format(text: str) -> str:
    if not _PIXEL_FORMAT.fullmatch(text):
        raise ValueError(text)
    return {"mjpeg": "MJPG"}.get(text.lower(), text.upper())


def _automatic(text: str) -> float | None:
    return None if text == "auto" else float(_above_zero(float)(text))


def _side(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST_SIDE:
        raise ValueError(text)
    return value


def _label(text: str) -> str:
    if not text.strip() or len(text) > 64 or not text.isprintable():
        raise ValueError(text)
    return text


def _white_balance(text: str) -> str | None:
    return None if text == "auto" else _one_of(*WHITE_BALANCES)(text)


def _region(text: str) -> Region:
    name, _, numbers = text.partition(":")
    left, top, width, height = (float(each) for each in numbers.split(","))
    inside = 0 <= left < 1 and 0 <= top < 1 and 0 < width <= 1 - left + 1e-6 and 0 < height <= 1 - top + 1e-6
    if not _NAME.fullmatch(name) or not inside:
        raise ValueError(text)
    return Region(name, left, top, width, height)


def _part(text: str) -> Region:
    return _region(f"roi:{text}")


_SIZED = frozenset({Kind.V4L2, Kind.CSI, Kind.GST, Kind.SCENE})
_ALL = frozenset(Kind)
OPTIONS: Mapping[str, Option] = {
    "name": Option(_label, "up to 64 printable characters", _ALL),
    "region": Option(_region, "NAME:LEFT,TOP,WIDTH,HEIGHT in fractions of the picture", _ALL),
    "roi": Option(_part, "LEFT,TOP,WIDTH,HEIGHT in fractions of the picture", _ALL),
    "rotate": Option(_turn, "0, 90, 180 or 270 degrees clockwise", _ALL),
    "flip": Option(_one_of("h", "v", "hv"), "h, v or hv", _ALL),
    "width": Option(_side, "a number of pixels, 1 to 16384", _SIZED),
    "height": Option(_side, "a number of pixels, 1 to 16384", _SIZED),
    "fps": Option(_above_zero(float), "frames a second, above 0", _ALL - {Kind.FILM, Kind.PHOTOS, Kind.GST}),
    "format": Option(_pixel_format, "a pixel format such as mjpeg or yuyv", frozenset({Kind.V4L2})),
    "exposure": Option(
        _automatic,
        "auto, microseconds for csi:, or the driver's unit (mostly 100 us)",
        frozenset({Kind.V4L2, Kind.CSI}),
    ),
    "wb": Option(_automatic, "auto or kelvins", frozenset({Kind.V4L2})),
    "white-balance": Option(_white_balance, "auto, " + ", ".join(WHITE_BALANCES), frozenset({Kind.CSI})),
    "timeout": Option(_above_zero(float), "seconds", frozenset({Kind.RTSP, Kind.HTTP, Kind.CSI, Kind.GST})),
    "transport": Option(_one_of("tcp", "udp"), "tcp or udp", frozenset({Kind.RTSP})),
    "pace": Option(_flag, "1 or 0", frozenset({Kind.FILM})),
    "loop": Option(_flag, "1 or 0", frozenset({Kind.FILM})),
    "seed": Option(int, "a whole number", frozenset({Kind.SCENE})),
    "frames": Option(_above_zero(int), "a whole number above 0", frozenset({Kind.SCENE})),
    "live": Option(_flag, "1 or 0", frozenset({Kind.SCENE})),
}


def read_options(uri: str, query: str, kind: Kind) -> dict[str, Any]:
    """Options by name; ``region`` is a tuple.

    Args:
        uri: for messages.
        query: ``name=value&name=value``.
        kind: of the camera.

    Raises:
        CameraError: unknown, not of this kind, twice, or not as expected.
    """
    found: dict[str, Any] = {}
    regions: list[Region] = []
    for name, text in parse_qsl(query, keep_blank_values=True):
        value = _read(uri, name, text, kind)
        if name == "region":
            regions.append(value)
        elif name in found:
            raise CameraError(f"{redacted(uri)}: '{name}' is given twice")
        else:
            found[name] = value
    names = [region.name for region in regions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or len(names) > MOST_REGIONS:
        raise CameraError(f"{redacted(uri)}: region '{(twice or names)[0]}' twice, or more than {MOST_REGIONS} regions")
    return {**found, "region": tuple(regions)}


def _read(uri: str, name: str, text: str, kind: Kind) -> Any:
    option = OPTIONS.get(name)
    if option is None or kind not in option.kinds:
        known = ", ".join(_known(kind))
        # What is no word may be the rest of a password with a '#' in it.
        what = f"unknown option '{name}'" if _WORD.fullmatch(name) else "what stands behind '#' or '?' is no option"
        raise CameraError(f"{redacted(uri)}: {what}; known are: {known}")
    try:
        return option.read(text)
    except (KeyError, ValueError) as err:
        raise CameraError(f"{redacted(uri)}: '{name}' is {text!r}, expected {option.expected}") from err


def _known(kind: Kind) -> Iterator[str]:
    return (name for name, option in OPTIONS.items() if kind in option.kinds)
