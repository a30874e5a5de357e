"""A labels file: one class a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.adopt.errors import AdoptError

_LIMIT_BYTES = 2 * 1024 * 1024
_LONGEST = 255
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Labels:
    """Classes in the order of the model's outputs.

    Attributes:
        names: unique.
        originals: as the file has them; a second "crane" is "crane (2)" among the names.
        notes: a sentence for every name that was changed.
    """

    names: tuple[str, ...]
    originals: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_labels(path: Path) -> Labels:
    """Read a labels file.

    A name that comes again gets a number behind it: ImageNet has two cranes, and a class must be told by its name.

    Raises:
        AdoptError: not UTF-8, blank lines (they would shift what follows), or fewer than two.
    """
    if not path.is_file():
        raise AdoptError(f"{path}: no such labels file; give a text file with one class a line")
    data = path.read_bytes()
    if len(data) > _LIMIT_BYTES:
        raise AdoptError(f"{path}: {len(data)} bytes; a labels file has at most {_LIMIT_BYTES}")
    return parse_labels(data, str(path))


def parse_labels(data: bytes, source: str) -> Labels:
    """Read the content of a labels file; ``source`` names it in messages.

    Raises:
        AdoptError: as ``read_labels``.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        number = data[: err.start].count(b"\n") + 1
        raise AdoptError(f"{source}, line {number}: not UTF-8; save the labels as UTF-8") from err
    # Not splitlines(): it also breaks at characters that may stand in a name.
    lines = [name.strip() for name in text.replace("\r\n", "\n").rstrip("\n").split("\n")]
    blank = [number for number, name in enumerate(lines, 1) if not name]
    if blank:
        shown = ", ".join(map(str, blank[:_MOST_SHOWN])) + (", ..." if len(blank) > _MOST_SHOWN else "")
        raise AdoptError(
            f"{source}: blank on line {shown}; every line is a class, so delete it or name that class (such as "
            f"'unused {blank[0]}')"
        )
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST or not line.isprintable():
            raise AdoptError(f"{source}, line {number}: a class name has up to {_LONGEST} printable characters")
    if len(lines) < 2:
        raise AdoptError(f"{source}: {len(lines)} label; a classifier needs two or more, one a line")
    return _unique(lines)


def _unique(lines: list[str]) -> Labels:
    taken, names, notes = set(lines), [], []
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if first.setdefault(line, number) == number:
            names.append(line)
            continue
        count = 2
        while f"{line} ({count})" in taken:
            count += 1
        names.append(f"{line} ({count})")
        taken.add(names[-1])
        notes.append(f"'{line}' is on lines {first[line]} and {number}: the class of line {number} is '{names[-1]}'")
    return Labels(tuple(names), tuple(lines), tuple(notes))
