"""FlatBuffers tables without generated code: written from a small tree, read by slot number.

Enough for the metadata schema, whose fields are few (``tflite_schema.py``); the format is described in the FlatBuffers
documentation, "FlatBuffers internals".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table

# No list in the metadata of a classifier comes near; one that claims more is damaged.
_MOST_ENTRIES = 64
_MOST_TEXT_BYTES = 64 * 1024
# force_align of Buffer.data in TFLite's schema.fbs, for vector instructions.
_BYTES_ALIGNMENT = 16


@dataclass(frozen=True, slots=True)
class Node:
    """A table to be written: by slot a text, a table, a list of tables, a list of float32, a uint32, or, from an
    ``IntEnum``, a byte."""

    fields: Mapping[int, Any]


class ModelBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """For TFLite files: bytes lie at multiples of 16, where the schema wants them and Python's own builder forgets it;
    and arrays that are equal are stored once.

    A scale per channel comes with a zero point of 8 bytes per channel, all of them 0, for every kernel and every bias:
    a sixth of a small int8 file.
    """

    def __init__(self, initialSize: int) -> None:  # noqa: N803
        super().__init__(initialSize)
        self._stored: dict[tuple[str, bytes], Any] = {}

    def CreateNumpyVector(self, x: Any) -> Any:  # noqa: N802
        """Of the base class, as its name."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._stored:
            self._stored[key] = super().CreateNumpyVector(x)
        return self._stored[key]

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803
        """Of the base class, its names are its names."""
        return super().StartVector(elemSize, numElems, _BYTES_ALIGNMENT if elemSize == 1 else alignment)


def write_tables(root: Node, identifier: bytes) -> bytes:
    """A whole FlatBuffer; ``identifier`` are the four bytes that name its schema."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, root), identifier)
    return bytes(builder.Output())


def _write_table(builder: Any, node: Node) -> int:
    # Children first: an offset points to what has been written already.
    offsets = {slot: _write_child(builder, value) for slot, value in node.fields.items() if not isinstance(value, int)}
    builder.StartObject(max(node.fields, default=-1) + 1)
    for slot, value in node.fields.items():
        if isinstance(value, IntEnum):
            builder.PrependInt8Slot(slot, int(value), 0)
        elif isinstance(value, int):
            builder.PrependUint32Slot(slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    return int(builder.EndObject())


def _write_child(builder: Any, value: str | Node | tuple[float, ...] | list[Node]) -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, Node):
        return _write_table(builder, value)
    entries = [_write_table(builder, entry) if isinstance(entry, Node) else entry for entry in value]
    prepend = builder.PrependFloat32 if isinstance(value, tuple) else builder.PrependUOffsetTRelative
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        prepend(entry)
    return int(builder.EndVector())


class View:
    """A table that is read. What is absent is empty; what points out of the file raises one of ``UNREADABLE``."""

    def __init__(self, table: Any) -> None:
        self._table = table

    @staticmethod
    def of(data: bytes) -> View:
        """The root table of a whole FlatBuffer."""
        return View(Table(data, int.from_bytes(data[:4], "little")))

    def text(self, slot: int) -> str:
        """A string."""
        offset = self._offset(slot)
        if not offset:
            return ""
        data: bytes = self._table.String(self._table.Pos + offset)
        if len(data) > _MOST_TEXT_BYTES:
            raise ValueError(f"a text of {len(data)} bytes")
        return data.decode()

    def byte(self, slot: int) -> int:
        """An enum's value."""
        offset = self._offset(slot)
        return int(self._table.Get(number_types.Int8Flags, self._table.Pos + offset)) if offset else 0

    def table(self, slot: int) -> View | None:
        """A table, or a union's."""
        offset = self._offset(slot)
        return View(Table(self._table.Bytes, self._table.Indirect(self._table.Pos + offset))) if offset else None

    def tables(self, slot: int) -> list[View]:
        """A list of tables."""
        return [View(Table(self._table.Bytes, self._table.Indirect(at))) for at in self._entries(slot)]

    def floats(self, slot: int) -> tuple[float, ...]:
        """A list of float32."""
        return tuple(float(self._table.Get(number_types.Float32Flags, at)) for at in self._entries(slot))

    def _offset(self, slot: int) -> int:
        return int(self._table.Offset(4 + 2 * slot))

    def _entries(self, slot: int) -> Iterator[int]:
        """Where each entry of a list is; all lists that we read have entries of four bytes."""
        offset = self._offset(slot)
        if not offset:
            return iter(())
        count = self._table.VectorLen(offset)
        if count > _MOST_ENTRIES:
            raise ValueError(f"a list of {count} entries")
        start = self._table.Vector(offset)
        return iter(range(start, start + 4 * count, 4))
