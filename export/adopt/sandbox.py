"""The parent's side of the child process that touches the foreign model.

A TFLite file can crash the interpreter or keep it busy for ever. This keeps such a file from taking ``edgegraft`` or
the machine along; it is no defence against a file that takes over the process.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from export.adopt import child
from export.adopt.errors import AdoptError

# Without a sign of life. The first picture waits for the loading of the model.
START_LIMIT_S = 120.0
PICTURE_LIMIT_S = 60.0


class Sandbox:
    """A folder that parent and children exchange files through.

    Args:
        folder: empty, the caller's to delete.
        model: the foreign file.
        start_limit_s, picture_limit_s: seconds without a sign of life after which a child is ended.
    """

    def __init__(
        self,
        folder: Path,
        model: bytes,
        start_limit_s: float = START_LIMIT_S,
        picture_limit_s: float = PICTURE_LIMIT_S,
    ) -> None:
        self._folder = folder
        self._limits = (start_limit_s, picture_limit_s)
        (folder / child.MODEL).write_bytes(model)

    def adapted(self) -> bytes:
        """The file that a ``Prove`` wrote."""
        return (self._folder / child.ADAPTED).read_bytes()

    def do(self, task: child.Task, on_picture: Callable[[], None] = lambda: None) -> child.Result:
        """Do a task in a child of its own.

        Raises:
            AdoptError: the task failed, crashed, or gave no sign of life.
        """
        (self._folder / child.TASK).write_bytes(msgspec.json.encode(task))
        result = self._folder / child.RESULT
        result.unlink(missing_ok=True)
        code = self._run(on_picture)
        if not result.is_file():
            raise AdoptError(_died(code, self._last_words()))
        found = msgspec.json.decode(result.read_bytes(), type=child.Result)
        if found.error:
            raise AdoptError(found.error)
        return found

    def answer(
        self, task: child.Task, pixels: NDArray[np.uint8], on_picture: Callable[[], None] = lambda: None
    ) -> tuple[NDArray[np.float32], child.Result]:
        """Do a task on pictures, (n, height, width, 3) uint8 RGB.

        Raises:
            AdoptError: as ``do``.
        """
        np.save(self._folder / child.PIXELS, pixels)
        found = self.do(task, on_picture)
        answers: NDArray[np.float32] = np.load(self._folder / child.ANSWERS, allow_pickle=False)
        return answers, found

    def _run(self, on_picture: Callable[[], None]) -> int:
        read, write = os.pipe()
        command = [sys.executable, "-m", "export.adopt.child", str(self._folder), str(write)]
        with (self._folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                command,
                # Of the user's folder, in which a file may be called like a module, nothing is to be imported.
                cwd=self._folder,
                pass_fds=(write,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        os.close(write)
        try:
            self._watch(read, on_picture)
            return process.wait()
        finally:
            os.close(read)
            if process.poll() is None:
                process.kill()
                process.wait()

    def _watch(self, pipe: int, on_picture: Callable[[], None]) -> None:
        limit, started = self._limits[0], time.monotonic()
        while select.select([pipe], [], [], limit)[0]:
            signs = os.read(pipe, 4096)
            if not signs:
                return
            limit = self._limits[1]
            for _ in signs:
                on_picture()
        raise AdoptError(
            f"the model gave no answer for {limit:.0f} s and was ended ({time.monotonic() - started:.0f} s after its "
            f"start); it is damaged, or far too large for a board"
        )

    def _last_words(self) -> str:
        lines = (self._folder / "log.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""


def _died(code: int, last_words: str) -> str:
    if code == -signal.SIGXCPU:
        return "the model took an hour of computing and was ended; give a smaller one or fewer photos"
    if code < 0:
        return (
            f"the runtime crashed on the model ({signal.Signals(-code).name}): the file is damaged or made to do "
            f"that; fetch or convert it again"
        )
    return f"the child process that tries the model failed (exit code {code}): {last_words or 'it said nothing'}"
