"""How often the test split of a Run has been looked at.

Test is honest once. Whoever measures on it again and again and keeps the best has chosen on it, and its figure is
too good; so every look is written down, and whoever prints a figure says how many there were.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from pipeline.dataset import Split
from pipeline.errors import RunError
from pipeline.run import SPLITS, TEST_LOOKS

_HEADER = ("looked_at", "by", "accuracy")


def record_look(run_folder: Path, by: str, accuracy: float) -> int:
    """Write a look down, durably: it survives a power cut, and two at a time are both counted.

    Args:
        run_folder: of the Run.
        by: who looked, such as ``train`` or ``evaluate``.
        accuracy: what was seen, a fraction.

    Returns:
        how many looks there are now, this one included.

    Raises:
        RunError: the file cannot be written.
    """
    path = run_folder / TEST_LOOKS
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        with path.open("ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.write(_opening(stream) + _line(now, by, f"{accuracy:.6f}"))
            stream.flush()
            os.fsync(stream.fileno())
            _sync_folder(run_folder)
            return count_looks(run_folder)
    except OSError as err:
        raise RunError(
            f"{path}: the look at the test split cannot be written down ({err.strerror}); "
            f"make the folder writable, or measure on the validation split"
        ) from err


def count_looks(run_folder: Path) -> int:
    """Looks so far; a line that a power cut left unfinished is none.

    Raises:
        RunError: the file is there and cannot be read.
    """
    path = run_folder / TEST_LOOKS
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return 0
    except OSError as err:
        raise RunError(f"{path}: {err.strerror}; make it readable") from err
    rows = csv.reader(line for line in text.splitlines() if line.strip())
    return sum(1 for row in rows if len(row) == len(_HEADER) and tuple(row) != _HEADER)


def is_look(run_folder: Path, sha256: Iterable[str]) -> bool:
    """Whether any of these photos is of the Run's test split, by the hashes of their bytes.

    Raises:
        RunError: the record of the splits is missing or damaged.
    """
    path = run_folder / SPLITS
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            test = {row["sha256"] for row in csv.DictReader(stream) if row["split"] == Split.TEST.value}
    except (OSError, csv.Error, KeyError) as err:
        raise RunError(f"{path}: missing or damaged; train again") from err
    return not test.isdisjoint(sha256)


def looks_text(looks: int) -> str:
    """For people: how often, and what follows from it."""
    if looks <= 1:
        return "test split looked at once"
    return f"test split looked at {looks} times; choose on validation"


def _opening(stream: io.BufferedRandom) -> bytes:
    """What has to come before a new line: the header, or an end for a line that was cut off."""
    if not stream.seek(0, os.SEEK_END):
        return _line(*_HEADER)
    stream.seek(-1, os.SEEK_END)
    return b"" if stream.read(1) == b"\n" else b"\n"


def _line(*cells: str) -> bytes:
    text = io.StringIO()
    # One line each whatever a name holds: lines are what is counted.
    csv.writer(text, lineterminator="\n").writerow(" ".join(cell.split()) for cell in cells)
    return text.getvalue().encode("utf-8", "replace")


def _sync_folder(folder: Path) -> None:
    # A new file's name is on disk only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
