"""What a board has already, as the script ``PREPARE`` says it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from export.flash.board_places import RUNTIMES
from export.flash.board_scripts import NEVER

_LINE = re.compile(r"(was|complete|hash|part|asked)(?: (.*))?")
_RUNTIME_LINK = re.compile(rf"{RUNTIMES}/([0-9a-f]{{16}})/bin/edgegraft")


@dataclass(frozen=True, slots=True)
class BoardState:
    """What is there.

    Attributes:
        runtime: the key of the one at work, or "".
        complete: the one that is wanted is there.
        hashes: sha256 of the files that came before, by name.
        parts: bytes of those that came in part, by the part's name.
        asked: with what the service was installed; {} where nobody remembers, None where there is none.
    """

    runtime: str
    complete: bool
    hashes: dict[str, str]
    parts: dict[str, int]
    asked: dict[str, Any] | None


def parse_state(output: str) -> BoardState:
    """Read it; lines that are none of the script's are passed over."""
    found: dict[str, list[str]] = {"was": [], "complete": [], "hash": [], "part": [], "asked": []}
    for line in output.splitlines():
        if match := _LINE.fullmatch(line):
            found[match[1]].append(match[2] or "")
    link = _RUNTIME_LINK.fullmatch("".join(found["was"]))
    parts = [line.partition(" ") for line in found["part"]]
    asked = "".join(found["asked"])
    return BoardState(
        runtime=link[1] if link else "",
        complete=bool(found["complete"]),
        hashes={name: digest for digest, _, name in (line.partition("  ") for line in found["hash"])},
        parts={name: int(size) for size, _, name in parts if size.isdecimal()},
        asked=None if asked == NEVER else _remembered(asked),
    )


def _remembered(text: str) -> dict[str, Any]:
    try:
        asked = json.loads(text)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}
