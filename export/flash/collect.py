"""Photos that a board kept, brought back for labelling: they close the loop to the next training."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from device.errors import RemoteError
from device.service import unit_name
from device.ssh import Connection

# Paths below the service's folder as our own sinks write them: nothing hidden, nothing that leads out.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}(/[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}){0,4}\.(jpg|jpeg|png)")
_PHOTO_LIMIT_BYTES = 32 * 1024 * 1024
_BATCH_BYTES = 16 * 1024 * 1024
_NOTHING = "no such folder"
_LIST_LIMIT_BYTES = 64 * 1024 * 1024
_LIST = f"""cd "$1" 2>/dev/null || {{ echo {_NOTHING}; exit 0; }}
find . -type f \\( -name '*.jpg' -o -name '*.jpeg' -o -name '*.png' \\) -printf '%s %P\\n'
"""
_FETCH = """cd "$1" && tar -cf - --null --no-recursion --verbatim-files-from -T -"""


@dataclass(frozen=True, slots=True)
class Collected:
    """What came: ``fetched`` photos, ``there`` that had come before, ``left_out`` by name with the reason."""

    board: str
    folder: str
    fetched: int
    there: int
    left_out: dict[str, str]


def collect(
    destination: str, out: Path, name: str | None = None, say: Callable[[str], None] = lambda line: None
) -> Collected:
    """Fetch what is new. Cut off, it goes on with what is missing; nothing is removed on the board.

    Args:
        destination: of the board.
        out: e.g. ``DATA/_inbox``; a folder with the board's name is made in it.
        name: of the service.
        say: takes lines on the way.

    Raises:
        RemoteError: the board is not reached, or has no such service.
    """
    connection = Connection(destination)
    place = f"/var/lib/edgegraft/{unit_name(name)}"
    listed = connection.fetch(_as_root(_LIST), place, limit_bytes=_LIST_LIMIT_BYTES).decode(errors="replace")
    if listed.startswith(_NOTHING):
        raise RemoteError(f"{destination}: no {place} there; is a service installed, with a sink snapshots:DIR?")
    folder = out / re.sub(r"[^A-Za-z0-9.-]+", "_", destination)
    wanted, left_out, there = [], {}, 0
    for line in listed.splitlines():
        size, _, path = line.partition(" ")
        if not _NAME.fullmatch(path) or not size.isdigit() or int(size) > _PHOTO_LIMIT_BYTES:
            left_out[ascii(path)] = "a name or a size that no photo of ours has"
        elif (folder / path).is_file():
            there += 1
        else:
            wanted.append((path, int(size)))
    say(f"{destination}: {len(wanted)} new photos, {there} are here")
    fetched = 0
    for batch in _batches(wanted):
        for path, data in _fetch(connection, place, batch):
            if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8) is None:
                left_out[ascii(path)] = "no photo that can be decoded"
            else:
                _write(folder / path, data)
                fetched += 1
    return Collected(destination, str(folder), fetched, there, left_out)


def _as_root(script: str) -> str:
    # What DynamicUser wrote is for root only.
    quoted = script.replace("'", "'\\''")
    return f'[ "$(id -u)" = 0 ] || ! sudo -n true 2>/dev/null || exec sudo -n sh -c \'{quoted}\' sh "$@"\n{script}'


def _batches(wanted: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    batch: list[tuple[str, int]] = []
    for one in wanted:
        if batch and sum(size for _, size in batch) + one[1] > _BATCH_BYTES:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _fetch(connection: Connection, place: str, batch: list[tuple[str, int]]) -> Iterator[tuple[str, bytes]]:
    sizes = dict(batch)
    names = "".join(f"{path}\0" for path in sizes).encode()
    archive = connection.fetch(_as_root(_FETCH), place, stdin=names, limit_bytes=4 * _BATCH_BYTES + len(batch) * 4096)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                # Only what was asked for, whatever the other side says.
                if member.isreg() and member.name in sizes and member.size <= _PHOTO_LIMIT_BYTES:
                    stream = tar.extractfile(member)
                    assert stream is not None
                    yield member.name, stream.read()
    except tarfile.TarError as err:
        raise RemoteError(f"{connection.destination}: the photos did not arrive whole ({err}); try again") from err


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
