"""Where the FAT partitions of a disk image lie, and how much room is in one: read, never written.

Sources: UEFI specification 2.10, chapter 5 (MBR and GPT); Microsoft's FAT specification 1.03.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from device.releases.refusals import UnsuitableCard

_SECTOR = 512
_FAT_TYPES = {0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF}
_PROTECTIVE = 0xEE
_GPT_FAT = {
    bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b"),  # EFI system
    bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7"),  # basic data
}
_MOST_ENTRIES = 1024
_PACKED = {b"\xfd7zXZ": "xz -d", b"\x1f\x8b": "gunzip", b"PK\x03\x04": "unzip", b"\x28\xb5\x2f\xfd": "unzstd"}


@dataclass(frozen=True, slots=True)
class Partition:
    """One of a table's entries.

    Attributes:
        offset: in bytes from the beginning of the disk.
        size: in bytes.
        fat: whether its type says FAT.
        name: of a GPT entry, else empty.
    """

    offset: int
    size: int
    fat: bool
    name: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """Of a FAT file system.

    Attributes:
        cluster: bytes; every file takes whole ones.
        free: bytes, counted in the allocation table: what the summary sector says may be out of date.
    """

    cluster: int
    free: int


def partitions(disk: BinaryIO, where: Path) -> list[Partition]:
    """The entries of the partition table, MBR or GPT.

    Raises:
        UnsuitableCard: there is none, or it is an archive.
    """
    head = _read(disk, 0, 2 * _SECTOR)
    for magic, tool in _PACKED.items():
        if head.startswith(magic):
            raise UnsuitableCard(f"{where}: a packed image; unpack it first: {tool} {where.name}")
    if head[510:512] != b"\x55\xaa":
        raise UnsuitableCard(f"{where}: no partition table; expected a disk image (.img) of an operating system")
    found = list(_mbr(head))
    if any(kind == _PROTECTIVE for kind, _ in found) and head[_SECTOR : _SECTOR + 8] == b"EFI PART":
        return list(_gpt(disk, head[_SECTOR:]))
    return [part for _, part in found]


def room(disk: BinaryIO, partition: Partition) -> Room | None:
    """What is free in a FAT16 or FAT32 file system; None where there is none."""
    boot = _read(disk, partition.offset, _SECTOR)
    if len(boot) < _SECTOR or boot[510:512] != b"\x55\xaa":
        return None
    sector, per_cluster, reserved, tables, roots, small = struct.unpack_from("<HBHBHH", boot, 11)
    per_table16 = struct.unpack_from("<H", boot, 22)[0]
    large, per_table32 = struct.unpack_from("<II", boot, 32)
    per_table = per_table16 or per_table32
    if sector not in (512, 1024, 2048, 4096) or not per_cluster or not reserved or not tables or not per_table:
        return None
    data = reserved + tables * per_table + (roots * 32 + sector - 1) // sector
    clusters = ((small or large) - data) // per_cluster
    if clusters < 4085 or (small or large) * sector > partition.size:
        return None
    wide = clusters >= 65525
    table = _read(disk, partition.offset + reserved * sector, (clusters + 2) * (4 if wide else 2))
    if len(table) < (clusters + 2) * (4 if wide else 2):
        return None
    entries = np.frombuffer(table, "<u4" if wide else "<u2")[2:]
    free = int(((entries & 0x0FFFFFFF) == 0).sum()) if wide else int((entries == 0).sum())
    cluster = sector * per_cluster
    return Room(cluster, free * cluster)


def _mbr(head: bytes) -> Iterator[tuple[int, Partition]]:
    for number in range(4):
        entry = head[446 + 16 * number : 462 + 16 * number]
        start, count = struct.unpack_from("<II", entry, 8)
        if entry[4] and count:
            yield entry[4], Partition(start * _SECTOR, count * _SECTOR, entry[4] in _FAT_TYPES)


def _gpt(disk: BinaryIO, header: bytes) -> Iterator[Partition]:
    first, count, size = struct.unpack_from("<QII", header, 72)
    if not 128 <= size <= 4096:
        return
    for number in range(min(count, _MOST_ENTRIES)):
        entry = _read(disk, first * _SECTOR + number * size, 128)
        if len(entry) == 128 and any(entry[:16]):
            start, last = struct.unpack_from("<QQ", entry, 32)
            name = entry[56:128].decode("utf-16-le", "replace").partition("\0")[0]
            yield Partition(start * _SECTOR, (last - start + 1) * _SECTOR, entry[:16] in _GPT_FAT, name)


def _read(disk: BinaryIO, offset: int, size: int) -> bytes:
    # Tables may say anything; memory is taken for what is really there.
    end = disk.seek(0, 2)
    if offset >= end:
        return b""
    disk.seek(offset)
    return disk.read(min(size, end - offset))
