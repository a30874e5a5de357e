"""One JSON object a line, to standard output or appended to a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

import msgspec

from device.errors import SinkError
from device.prediction import Prediction
from device.sinks.base import PASSING, Result, SinkGone, Want
from device.status import Status


class JsonLinesSink:
    """Implements ``Sink``. Every line is flushed, so that a reader sees it at once.

    Args:
        stream: binary and writable; closed at the end unless it is standard output. None: it cannot be opened yet.
        name: for messages.
        open_stream: tried again at every write for as long as there is none.
    """

    def __init__(self, stream: IO[bytes] | None, name: str, open_stream: Callable[[], IO[bytes]] | None = None) -> None:
        self._stream = stream
        self._name = name
        self._open_stream = open_stream
        self._encoder = msgspec.json.Encoder()

    def wants(self, prediction: Prediction) -> Want:
        """See ``Sink.wants``: every prediction."""
        return Want.PREDICTION

    def report(self, status: Status) -> None:
        """See ``Sink.report``: lines are predictions only."""

    def write(self, result: Result) -> None:
        """See ``Sink.write``. Fields are those of ``Prediction``; ``top`` is a list of [class, probability]."""
        try:
            if self._stream is None:
                assert self._open_stream is not None
                self._stream = self._open_stream()
            self._stream.write(self._encoder.encode(result.prediction) + b"\n")
            self._stream.flush()
        except BrokenPipeError as err:
            raise SinkGone from err
        except OSError as err:
            raise SinkError(f"{self._name}: {err.strerror}; free some space or name another place") from err

    def close(self) -> None:
        """See ``Sink.close``."""
        if self._stream is not None and self._stream is not sys.stdout.buffer:
            with suppress(OSError):  # every line was flushed; nothing can be lost here
                self._stream.close()


def open_jsonl(uri: str) -> JsonLinesSink:
    """``jsonl:-`` is standard output, anything else a file that is appended to.

    A disk that is full or read-only now is no reason not to classify: the file is opened when it can be.

    Raises:
        SinkError: the file cannot be written, for another reason.
    """
    target = uri.partition(":")[2]
    if target == "-":
        if sys.stdout is None:
            raise SinkError("jsonl:- writes to standard output, which is closed; name a file: jsonl:FILE")
        return JsonLinesSink(sys.stdout.buffer, "standard output")
    if not target:
        raise SinkError("jsonl: has no target; expected jsonl:- or jsonl:FILE")
    open_stream = partial(_open, Path(target))
    try:
        return JsonLinesSink(open_stream(), target)
    except OSError as err:
        if err.errno in PASSING:
            return JsonLinesSink(None, target, open_stream)
        raise SinkError(f"{target}: {err.strerror}; name a file in a folder that exists and can be written") from err


def _open(path: Path) -> IO[bytes]:
    _end_torn_line(path)
    return path.open("ab")


def _end_torn_line(path: Path) -> None:
    """After a power cut the last line may have no end: what follows must not become a part of it."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
