"""Photos that a board kept, brought back for labelling: they close the loop to the next training."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from device.errors import RemoteError
from device.service import unit_name
from device.ssh import Connection

# Paths below the service's folder as our own sinks write them: nothing hidden, nothing that leads out.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}(/[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}){0,4}\.(jpg|jpeg|png)")
# What was said about a photo lies beside it, under the same name.
_WORDS_LIMIT_BYTES = 64 * 1024
_PHOTO_LIMIT_BYTES = 32 * 1024 * 1024
_BATCH_BYTES = 16 * 1024 * 1024
_NOTHING = "no such folder"
_LIST_LIMIT_BYTES = 64 * 1024 * 1024
_LIST = f"""cd "$1" 2>/dev/null || {{ echo {_NOTHING}; exit 0; }}
find . -type f \\( -name '*.jpg' -o -name '*.jpeg' -o -name '*.png' -o -name '*.json' \\) -printf '%s %P\\n'
"""
_FETCH = """cd "$1" && tar -cf - --null --no-recursion --verbatim-files-from -T -"""
# Each line as sha256sum has them. The service may write there, and this is root: a folder is entered and looked at
# before anything in it is removed, so that none that was swapped for a link leads elsewhere.
_REMOVE = """cd "$1" && base=$(pwd -P) && while IFS= read -r line; do
    path=${line#*  }
    (
        cd -P "./$(dirname "$path")" 2>/dev/null || exit 0
        case $(pwd -P)/ in "$base"/*) ;; *) exit 0 ;; esac
        name=$(basename "$path")
        [ -f "$name" ] || exit 0
        printf '%s  %s\\n' "${line%%  *}" "$name" | sha256sum --check --status 2>/dev/null || exit 0
        rm -f -- "${name%.*}.json" "$name" && echo removed || exit 0
    )
done"""


@dataclass(frozen=True, slots=True)
class Collected:
    """What came: ``fetched`` photos, ``there`` that had come before, ``left_out`` by name with the reason.

    ``removed``: photos that are here, safely, and no more on the board.
    """

    board: str
    folder: str
    fetched: int
    there: int
    removed: int
    left_out: dict[str, str]


def collect(
    destination: str,
    out: Path,
    name: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    remove: bool = False,
) -> Collected:
    """Fetch what is new. Cut off, it goes on with what is missing.

    Args:
        destination: of the board.
        out: e.g. ``DATA/_inbox``; a folder with the board's name is made in it.
        name: of the service.
        say: takes lines on the way.
        remove: on the board, what is here: once it is fsynced, and only where the content there is still the same.

    Raises:
        RemoteError: the board is not reached, or has no such service.
    """
    connection = Connection(destination)
    place = f"/var/lib/edgegraft/{unit_name(name)}"
    listed = connection.fetch(_as_root(_LIST), place, limit_bytes=_LIST_LIMIT_BYTES).decode(errors="replace")
    if listed.startswith(_NOTHING):
        raise RemoteError(f"{destination}: no {place} there; is a service installed, with a sink snapshots:DIR?")
    folder = out / re.sub(r"[^A-Za-z0-9.-]+", "_", destination)
    photos, words, left_out = _sorted(listed)
    there = {path for path in photos if (folder / path).is_file()}
    say(f"{destination}: {len(photos) - len(there)} new photos, {len(there)} are here")
    removed = _remove(connection, place, folder, sorted(there)) if remove else 0
    fetched = 0
    for batch in _batches([(path, size) for path, size in photos.items() if path not in there]):
        with_words = {path: size for photo, size in batch for path, size in ((photo, size), *_beside(photo, words))}
        came = []
        for path, data in _fetch(connection, place, with_words):
            if path in photos and not _is_photo(data):
                left_out[ascii(path)] = "no photo that can be decoded"
            else:
                _write(folder / path, data)
                came += [path] if path in photos else []
        fetched += len(came)
        removed += _remove(connection, place, folder, came) if remove else 0
    return Collected(destination, str(folder), fetched, len(there), removed, left_out)


def _sorted(listed: str) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    """Photos and what was said about them, by path with their sizes; and what is neither, with the reason."""
    photos: dict[str, int] = {}
    words: dict[str, int] = {}
    left_out = {}
    for line in listed.splitlines():
        size, _, path = line.partition(" ")
        bytes_there = int(size) if size.isdigit() else _PHOTO_LIMIT_BYTES + 1
        if path.endswith(".json"):
            words |= {path: bytes_there} if bytes_there <= _WORDS_LIMIT_BYTES else {}
        elif not _NAME.fullmatch(path) or bytes_there > _PHOTO_LIMIT_BYTES:
            left_out[ascii(path)] = "a name or a size that no photo of ours has"
        else:
            photos[path] = bytes_there
    return photos, words, left_out


def _beside(photo: str, words: dict[str, int]) -> list[tuple[str, int]]:
    path = f"{photo.rpartition('.')[0]}.json"
    return [(path, words[path])] if path in words else []


def _is_photo(data: bytes) -> bool:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8) is not None


def _remove(connection: Connection, place: str, folder: Path, paths: Sequence[str]) -> int:
    """On the board what is here; how many. What has changed there meanwhile stays."""
    if not paths:
        return 0
    lines = [f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {path}\n" for path in paths]
    told = connection.fetch(
        _as_root(_REMOVE), place, stdin="".join(lines).encode(), limit_bytes=len(lines) * len("removed\n")
    )
    return told.count(b"removed")


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


def _fetch(connection: Connection, place: str, sizes: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    names = "".join(f"{path}\0" for path in sizes).encode()
    archive = connection.fetch(_as_root(_FETCH), place, stdin=names, limit_bytes=4 * _BATCH_BYTES + len(sizes) * 4096)
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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
