"""A disk with a volatile write cache, as a plugin of nbdkit: what was not flushed may be lost when the power goes.

Killing an emulator leaves all that it has written in the host's memory, so it proves no fsync. Here a write reaches the
file only with a flush. When the connection ends without one, each block of 4 KiB that is still in the cache survives or
not by chance, in no order: as in the worst card that still keeps its word about flushes.

The cache is empty most of the time, so a moment that is chosen by chance rarely finds something in it. While the file
``trap`` exists, the first flush that would make something durable is held up until the emulator is killed, and never
done: the power goes when most is lost.

Runs in the Python of nbdkit's Debian package: standard library only. Parameters: ``file``, ``seed``, ``report`` (a JSON
file that says what the last connection lost), ``trap``.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

API_VERSION = 2
BLOCK_BYTES = 4096
CAUGHT = ".caught"

_settings: dict[str, str] = {}


class Cached:
    """The disk behind one connection."""

    def __init__(self) -> None:
        self.handle = os.open(_settings["file"], os.O_RDWR)
        self.size = os.fstat(self.handle).st_size
        self.blocks: dict[int, bytearray] = {}
        self.flushes = 0

    def block(self, number: int) -> bytearray:
        """A block's content now, in the cache."""
        if number not in self.blocks:
            self.blocks[number] = bytearray(os.pread(self.handle, BLOCK_BYTES, number * BLOCK_BYTES))
        return self.blocks[number]


def config(key: str, value: str) -> None:
    """One parameter."""
    _settings[key] = value


def thread_model() -> int:
    """One request at a time."""
    import nbdkit

    return int(nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS)


def open(readonly: bool) -> Cached:  # noqa: A001 - nbdkit's name
    """A connection."""
    return Cached()


def get_size(disk: Cached) -> int:
    """In bytes."""
    return disk.size


def can_write(disk: Cached) -> bool:
    """Yes."""
    return True


def can_flush(disk: Cached) -> bool:
    """The guest is told of the cache, and what it flushes is kept."""
    return True


def pread(disk: Cached, buffer: bytearray, offset: int, flags: int) -> None:
    """The newest content."""
    size = len(buffer)
    data = bytearray(os.pread(disk.handle, size, offset))
    for number in range(offset // BLOCK_BYTES, (offset + size - 1) // BLOCK_BYTES + 1):
        if number in disk.blocks:
            start = number * BLOCK_BYTES
            low, high = max(start, offset), min(start + BLOCK_BYTES, offset + size)
            data[low - offset : high - offset] = disk.blocks[number][low - start : high - start]
    buffer[:] = data


def pwrite(disk: Cached, buffer: bytearray, offset: int, flags: int) -> None:
    """Into the cache."""
    end = offset + len(buffer)
    for number in range(offset // BLOCK_BYTES, (end - 1) // BLOCK_BYTES + 1):
        start = number * BLOCK_BYTES
        low, high = max(start, offset), min(start + BLOCK_BYTES, end)
        if high - low == BLOCK_BYTES:
            disk.blocks[number] = bytearray(buffer[low - offset : high - offset])
        else:
            disk.block(number)[low - start : high - start] = buffer[low - offset : high - offset]


def flush(disk: Cached, flags: int) -> None:
    """What is in the cache survives from now on; in the trap it does not."""
    trap = Path(_settings["trap"])
    if disk.blocks and trap.exists():
        trap.with_name(trap.name + CAUGHT).touch()
        while trap.exists():
            time.sleep(0.01)
        raise OSError("the power is gone")
    for number in sorted(disk.blocks):
        os.pwrite(disk.handle, disk.blocks[number], number * BLOCK_BYTES)
    disk.blocks.clear()
    disk.flushes += 1


def close(disk: Cached) -> None:
    """The power is gone: of what was not flushed a part survives."""
    chance = random.Random(int(_settings["seed"]))
    kept = [number for number in sorted(disk.blocks) if chance.random() < 0.5]
    for number in kept:
        os.pwrite(disk.handle, disk.blocks[number], number * BLOCK_BYTES)
    os.close(disk.handle)
    said = {"flushes": disk.flushes, "unflushed_blocks": len(disk.blocks), "lost_blocks": len(disk.blocks) - len(kept)}
    Path(_settings["report"]).write_text(json.dumps(said))
