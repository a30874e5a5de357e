"""What every command shares: JSON on standard output, progress and words on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

# Faster than this needs no bar.
_BAR_DELAY_S = 1.0


def say(text: str) -> None:
    """A line for the person at the terminal, on standard error."""
    print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Text from another machine, fit for a terminal: escape sequences could move its cursor or rename its window."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def emit_json(result: Any) -> None:
    """The one JSON object of a command that was called with ``--json``."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    sys.stdout.buffer.flush()


def progress_bar(label: str, total: int, unit: str) -> Any:
    """A bar on standard error, if that is a terminal and it takes over a second: ``update(n)``, ``close()``."""
    from tqdm import tqdm

    return tqdm(
        desc=label,
        total=total,
        unit=unit,
        delay=_BAR_DELAY_S,
        file=sys.stderr,
        disable=None,
        leave=False,
        dynamic_ncols=True,
        smoothing=0.1,
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; the first is left-aligned, numbers to the right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    align: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (len(header) - 1)]
    lines = ["  ".join(fit(cell, width) for fit, cell, width in zip(align, row, widths, strict=True)) for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)
