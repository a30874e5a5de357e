"""The frames in a ``multipart/x-mixed-replace`` stream, as cameras send it rather than as RFC 2046 has it."""

from __future__ import annotations

import enum
import re

from device.preprocess import reaches_jpeg_end

_MOST_HEADER = 16 * 1024
_MOST_LINE = 256
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^content-type[ \t]*:[ \t]*(?!image/|application/octet-stream)\S", re.IGNORECASE | re.MULTILINE)
_HEADER_END = re.compile(rb"\r?\n\r?\n|\A\r?\n")


class _State(enum.Enum):
    BOUNDARY = enum.auto()
    HEADER = enum.auto()
    BODY = enum.auto()
    SKIP = enum.auto()


def boundary_of(content_type: str) -> bytes:
    """The delimiter that a ``Content-Type`` announces; just the two dashes where it announces none.

    Cameras write ``boundary=x``, ``boundary="x"`` and, with the dashes of the delimiter, ``boundary=--x``.
    """
    match = _BOUNDARY.search(content_type)
    name = (match[1] or match[2]) if match else ""
    return b"--" + name.removeprefix("--").encode("latin-1", "replace")


class MultipartParser:
    """Takes the bytes of a stream as they come and keeps the newest complete part.

    Attributes:
        complete: parts that have come whole so far.
        oversize: parts so far that were above the limit; of them nothing is kept.

    Args:
        delimiter: see ``boundary_of``.
        most_bytes: of a part.
    """

    def __init__(self, delimiter: bytes, most_bytes: int) -> None:
        self.complete = 0
        self.oversize = 0
        self._delimiter = delimiter
        self._most = most_bytes
        self._buffer = bytearray()
        self._state = _State.BOUNDARY
        self._length: int | None = None
        self._image = True
        self._scanned = 0
        self._newest: bytes | None = None

    def feed(self, data: bytes) -> None:
        """Take what came. At most one part and what was given are kept."""
        self._buffer += data
        steps = {
            _State.BOUNDARY: self._to_boundary,
            _State.HEADER: self._header,
            _State.BODY: self._body,
            _State.SKIP: self._skip,
        }
        while steps[self._state]():
            pass

    def take(self) -> bytes | None:
        """The newest part that is complete, once."""
        newest, self._newest = self._newest, None
        return newest

    def take_unclosed(self) -> None:
        """Nothing more has come for now: a part without a length that ends as a JPEG does is complete.

        Its delimiter comes with the next part, a whole frame interval later.
        """
        if self._state is _State.BODY and self._length is None:
            data = bytes(self._buffer).rstrip(b"\r\n")
            if data.endswith(b"\xff\xd9") and reaches_jpeg_end(data):
                self._buffer.clear()
                self._finish(data)

    def _to_boundary(self) -> bool:
        start = self._buffer.find(self._delimiter)
        if start < 0:
            del self._buffer[: max(0, len(self._buffer) - len(self._delimiter) + 1)]
            return False
        after = start + len(self._delimiter)
        end = self._buffer.find(b"\n", after, after + _MOST_LINE)
        if end < 0:
            if len(self._buffer) - after < _MOST_LINE:
                del self._buffer[:start]
                return False
            end = after - 1  # no line at all: these bytes only looked like a delimiter
            del self._buffer[: end + 1]
            return True
        del self._buffer[: end + 1]
        self._state = _State.HEADER
        return True

    def _header(self) -> bool:
        end = _HEADER_END.search(self._buffer, 0, _MOST_HEADER)
        if end is None:
            if len(self._buffer) < _MOST_HEADER:
                return False
            self._state = _State.BOUNDARY
            return True
        head = bytes(self._buffer[: end.start()])
        del self._buffer[: end.end()]
        length = _LENGTH.search(head)
        self._length = int(length[1]) if length else None
        self._image = _TYPE.search(head) is None
        self._scanned = 0
        if self._length is not None and self._length > self._most:
            self.oversize += 1
            self._state = _State.SKIP
        else:
            self._state = _State.BODY
        return True

    def _body(self) -> bool:
        if self._length is not None:
            if len(self._buffer) < self._length:
                return False
            data = bytes(self._buffer[: self._length])
            del self._buffer[: self._length]
            self._finish(data)
            return True
        end = self._buffer.find(self._delimiter, self._scanned)
        if end > self._most or (end < 0 and len(self._buffer) > self._most + len(self._delimiter)):
            self.oversize += 1
            self._state = _State.BOUNDARY
            return True
        if end < 0:
            self._scanned = max(0, len(self._buffer) - len(self._delimiter) + 1)
            return False
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._finish(data.removesuffix(b"\n").removesuffix(b"\r"))
        return True

    def _skip(self) -> bool:
        assert self._length is not None
        skipped = min(self._length, len(self._buffer))
        del self._buffer[:skipped]
        self._length -= skipped
        if self._length:
            return False
        self._state = _State.BOUNDARY
        return True

    def _finish(self, data: bytes) -> None:
        self._state = _State.BOUNDARY
        if self._image:  # some cameras send their events in between, as text
            self.complete += 1
            self._newest = data
