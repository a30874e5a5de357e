"""The engine that flashes many boards at once: pyinfra, in a process of its own; here is our end of it.

One JSON object a line. What goes in on its standard input: a ``Task``, then a ``Wave`` at a time. What comes back:
``Said`` and ``Finished`` in any order, and ``WaveDone``. Options may hold secrets: a process list shows none of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec

from device.console import printable
from device.inventory import Board
from export.errors import ExportError
from export.flash.over_ssh import Flashed, SshConfig

_MODULE = "export.flash.engine_child"
_END_S = 5.0


class Task(msgspec.Struct, frozen=True):
    """For all waves: what is flashed, how many boards at once, and how many seconds one may take."""

    config: SshConfig
    at_once: int
    timeout_s: int


class Wave(msgspec.Struct, frozen=True):
    """Boards that are flashed beside one another."""

    boards: list[Board]


class Said(msgspec.Struct, frozen=True, tag=True):
    """A line for people."""

    text: str


class Finished(msgspec.Struct, frozen=True, tag=True):
    """One board is done, or has failed."""

    board: Flashed


class WaveDone(msgspec.Struct, frozen=True, tag=True):
    """All of the wave are."""


class EngineError(ExportError):
    """The engine ended before its time."""


def encode(message: msgspec.Struct) -> bytes:
    """A message as a line."""
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def decode(line: bytes, kind: Any) -> Any:
    """A line as a message of this kind; raises what msgspec raises."""
    return msgspec.json.decode(line, type=kind, dec_hook=lambda wanted, value: wanted(value))


class Engine:
    """A context manager; leaving it ends all that it has started.

    Args:
        task: see there.
        say: takes lines on the way.
        on_board: is called with each that is done or has failed.
    """

    def __init__(self, task: Task, say: Callable[[str], None], on_board: Callable[[Flashed], None]) -> None:
        self._task = task
        self._say = say
        self._on_board = on_board

    def flash(self, boards: Sequence[Board]) -> list[Flashed]:
        """A wave: each board's result, in the order given.

        Raises:
            EngineError: it ended; what it had begun on boards ends there by itself, and safely.
        """
        self._tell(Wave(list(boards)))
        done: dict[str, Flashed] = {}
        for line in self._answers:
            message = self._read(line)
            if isinstance(message, Said):
                self._say(message.text)
            elif isinstance(message, Finished):
                done[message.board.board] = message.board
                self._on_board(message.board)
            else:
                return [done[board.destination] for board in boards]
        raise self._failed()

    def __enter__(self) -> Engine:
        # A session of its own, so that it ends as a whole; what it leaves in its temporary folder goes as well.
        self._folder = tempfile.TemporaryDirectory()
        self._words = (Path(self._folder.name) / "words").open("w+b")
        self._child = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            start_new_session=True,
            env={**os.environ, "TMPDIR": self._folder.name, "PYTHONSAFEPATH": "1"},
        )
        assert self._child.stdout is not None
        self._answers: IO[bytes] = self._child.stdout
        self._tell(self._task)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_END_S)
        assert self._child.stdin is not None
        for stream in (self._child.stdin, self._answers, self._words):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._folder.cleanup()

    def _tell(self, message: msgspec.Struct) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(encode(message))
            self._child.stdin.flush()
        except BrokenPipeError as err:
            raise self._failed() from err

    def _read(self, line: bytes) -> Said | Finished | WaveDone:
        try:
            message: Said | Finished | WaveDone = decode(line, Said | Finished | WaveDone)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as err:
            raise EngineError(f"pyinfra's process answered with something else than results ({err})") from err
        return message

    def _failed(self) -> EngineError:
        code = self._child.wait()
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        last = printable(lines[-1]) if lines else "no word"
        return EngineError(f"pyinfra's process ended with {code} ({last}); the same command goes on where it was")
