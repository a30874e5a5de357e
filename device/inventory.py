"""Many boards and what each is to be told, as data: a TOML file that is read strictly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from device.errors import DeviceError, EdgegraftError, UsageError
from device.service import unit_name
from device.ssh import Connection
from device.toml_file import read_toml

EXAMPLE = """\
# Boards of --inventory. An option of a board wins over its group's, that over the command line's.

[group.greenhouse]
boards = ["pi@bench-1", "pi@bench-2"]
camera = "csi:0"

[group.gates]
boards = ["pi@gate-north", "ssh://pi@gate-south:2222"]
camera = ["0", "rtsp://10.0.0.9/stream"]
sink = "mqtt://broker/gates"
max_fps = 5

[board."pi@gate-north"]
camera = "v4l2:Door"
rules = "door.toml"        # beside this file
"""

_LIMIT_BYTES = 4 * 1024 * 1024
_MOST_BOARDS = 10_000
_Text = Annotated[str, Meta(min_length=1, max_length=4096)]
_Texts = _Text | list[_Text]


class InventoryError(DeviceError):
    """An inventory that cannot be read, or holds what is not understood; names the file and the place in it."""


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a group or a board may say; the names are those of ``edgegraft run``'s options."""

    camera: _Texts | None = None
    sink: _Texts | None = None
    web: _Text | None = None
    web_token: _Text | None = None
    web_name: _Texts | None = None
    collect: _Text | None = None
    max_fps: Annotated[float, Meta(ge=0.01, le=1000)] | None = None
    variant: _Text | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    motion: bool | None = None
    rules: _Text | None = None
    name: _Text | None = None


class _Group(_Options, frozen=True, kw_only=True):
    boards: Annotated[list[_Text], Meta(min_length=1)]


_KINDS: Mapping[str, type[_Options]] = {"group": _Group, "board": _Options}


@dataclass(frozen=True, slots=True)
class Board:
    """One board and what it is to be told.

    Attributes:
        destination: for ``ssh``.
        service: options of ``edgegraft service install``; empty where the service is there and stays as it is.
        unit: ``--name`` of the service, or "".
        rules: a file of decision rules, or None.
    """

    destination: str
    service: tuple[str, ...] = ()
    unit: str = ""
    rules: Path | None = None


def load_inventory(path: Path, common: Mapping[str, Any]) -> list[Board]:
    """Read an inventory; ``EXAMPLE`` is one. Boards come in the order of the file, groups first.

    Args:
        path: TOML.
        common: options for all boards, by the same names; ``rules`` is a path of its own.

    Raises:
        InventoryError: it cannot be read, or does not hold what is expected.
    """
    file = _parse(path)
    told: dict[str, dict[str, Any]] = {}
    for name, group in file["group"].items():
        options = _given(group, path.parent)
        assert isinstance(group, _Group)
        for destination in group.boards:
            if destination in told:
                raise InventoryError(f"{path}, group.{_shown(name)}.boards: {destination!a} came before; name it once")
            told[destination] = options
    for destination, own in file["board"].items():
        told[destination] = {**told.get(destination, {}), **_given(own, path.parent)}
    if not 1 <= len(told) <= _MOST_BOARDS:
        raise InventoryError(
            f"{path}: {len(told)} boards; expected 1 to {_MOST_BOARDS}, as [group.NAME] with boards = [...] or as "
            '[board."user@host"]'
        )
    return [_board(path, destination, {**common, **options}) for destination, options in told.items()]


def all_boards(destinations: Iterable[str], inventory: Path | None, common: Mapping[str, Any]) -> list[Board]:
    """Those that are named and those of an inventory, where there is one; see ``board_of`` and ``load_inventory``."""
    return [board_of(each, common) for each in destinations] + (load_inventory(inventory, common) if inventory else [])


def board_of(destination: str, options: Mapping[str, Any]) -> Board:
    """A board by its options, named as in an inventory; ``rules`` is a path.

    Raises:
        UsageError: a destination or a service's name that cannot be one.
    """
    Connection(destination)
    unit = options.get("name") or ""
    if unit:
        unit_name(unit)
    service: list[str] = []
    for name in _Options.__struct_fields__:
        value = options.get(name)
        if value is None or value is False or name in ("rules", "name"):
            continue
        option = f"--{name.replace('_', '-')}"
        if value is True:
            service.append(option)
        else:
            # With '=', for a value that begins with a dash is a value too.
            service += [f"{option}={each}" for each in (value if isinstance(value, list | tuple) else [value])]
    return Board(destination, tuple(service), unit, options.get("rules"))


def require_distinct(boards: Iterable[Board]) -> None:
    """A board that is flashed twice at once would refuse one of the two.

    Raises:
        UsageError: one is there twice.
    """
    seen: set[str] = set()
    for board in boards:
        if board.destination in seen:
            raise UsageError(f"{board.destination} is given twice; name it once")
        seen.add(board.destination)


def _board(path: Path, destination: str, options: Mapping[str, Any]) -> Board:
    try:
        return board_of(destination, options)
    except EdgegraftError as err:
        raise InventoryError(f"{path}, {destination!a}: {err}") from err


def _given(options: _Options, folder: Path) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in _Options.__struct_fields__}
    given = {name: value for name, value in given.items() if value is not None}
    if "rules" in given:
        given["rules"] = folder / given["rules"]
    return given


def _parse(path: Path) -> dict[str, dict[str, _Options]]:
    text, table = read_toml(path, "boards", _LIMIT_BYTES, InventoryError)
    file: dict[str, dict[str, _Options]] = {name: {} for name in _KINDS}
    for kind, parts in table.items():
        if kind not in _KINDS or not isinstance(parts, dict):
            raise InventoryError(f'{path}, {_shown(kind)}: expected [group.NAME] and [board."user@host"] only')
        for name, part in parts.items():
            place = f"{kind}.{_shown(name)}"
            if not isinstance(part, dict):
                raise InventoryError(f"{path}, {place}: expected a table [{kind}.NAME] of options")
            file[kind][name] = _convert(path, place, part, text)
    return file


def _convert(path: Path, place: str, part: dict[str, Any], text: str) -> _Options:
    kind = _KINDS[place.partition(".")[0]]
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name, value in part.items():
        here = f"{path}{_line(text, name)}, {place}.{_shown(name)}"
        if name not in known:
            raise InventoryError(f"{here}: no such option; there are {', '.join(known)}")
        # An escape sequence would reach a terminal, a line break a unit file; nan is under no limit and over none.
        for leaf in value if isinstance(value, list) else [value]:
            if (isinstance(leaf, str) and not leaf.isprintable()) or (isinstance(leaf, float) and leaf != leaf):
                raise InventoryError(f"{here}: {leaf!a} came; expected printable text or a number")
    try:
        return msgspec.convert(part, kind)
    except msgspec.ValidationError as err:
        expected, _, where = str(err).partition(" - at `$.")
        name = where.rstrip("`").partition("[")[0]
        here = f"{path}{_line(text, name)}, {place}{f'.{name}' if name else ''}"
        raise InventoryError(f"{here}: {expected[0].lower()}{expected[1:]}") from err


def _line(text: str, name: str) -> str:
    """Where an option stands, if it does so once: the parser does not tell."""
    found = [number for number, line in enumerate(text.splitlines(), 1) if line.split("=")[0].strip(" \t\"'") == name]
    return f" line {found[0]}" if len(found) == 1 else ""


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
