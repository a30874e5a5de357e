"""The child of ``engine.py``: pyinfra holds the boards of a wave, a greenlet each, that run ``flash_board``."""

from __future__ import annotations

# First of all: from here on, waiting for one board's ssh lets the others go on.
from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402

import gevent  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402
from gevent.queue import Queue  # noqa: E402
from pyinfra.api.config import Config  # noqa: E402
from pyinfra.api.connect import connect_all  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.host import Host  # noqa: E402
from pyinfra.api.inventory import Inventory  # noqa: E402
from pyinfra.api.operation import add_op  # noqa: E402
from pyinfra.api.operations import run_ops  # noqa: E402
from pyinfra.api.state import State  # noqa: E402
from pyinfra.operations import python  # noqa: E402

from device.inventory import Board  # noqa: E402
from export.flash.connector import PREFIX  # noqa: E402
from export.flash.engine import Finished, Said, Task, Wave, WaveDone, decode, encode  # noqa: E402
from export.flash.over_ssh import Flashed, flash_board  # noqa: E402
from export.flash.parcels import Parcels  # noqa: E402

_Send = Callable[[Said | Finished | WaveDone], None]


def main() -> None:
    """Read waves until the other side closes."""
    # Both ends are ours alone: what pyinfra prints must not come between our lines, and a pip that inherits standard
    # input makes it block, for us too. pyinfra's log has arguments in it.
    asked, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    logging.getLogger("pyinfra").disabled = True
    lines = _lines(asked)
    task = decode(next(lines), Task)
    with Parcels() as parcels:
        for line in lines:
            flash_wave(task, decode(line, Wave), parcels, lambda message: _write(answers, encode(message)))


def flash_wave(task: Task, wave: Wave, parcels: Parcels, send: _Send) -> None:
    """All boards of a wave, and nothing else before they are done."""
    boards = {f"{PREFIX}{board.destination}": board for board in wave.boards}
    state = State(Inventory((list(boards), {})), Config(PARALLEL=min(task.at_once, len(boards))))
    ended: set[str] = set()

    def end(result: Flashed) -> None:
        ended.add(result.board)
        send(Finished(result))

    def flash(state: State, host: Host) -> None:
        # For pyinfra it went well even where it did not: what counts is our answer, and its word for it is a trace.
        end(_flash(task, boards[host.name], parcels, lambda text: send(Said(text))))

    try:
        connect_all(state)
        add_op(state, python.call, flash, _timeout=task.timeout_s)
        run_ops(state, no_wait=True)
    except PyinfraError as err:
        send(Said(f"pyinfra: {err}"))
    for board in wave.boards:
        if board.destination not in ended:
            end(Flashed(board.destination, exit_code=1, message="pyinfra left it out; try it by itself"))
    send(WaveDone())


def _flash(task: Task, board: Board, parcels: Parcels, say: Callable[[str], None]) -> Flashed:
    heard: list[str] = []

    def tell(line: str) -> None:
        heard.append(line)
        say(line)

    try:
        return flash_board(task.config, board, parcels, tell)
    except TimeoutError:
        # pyinfra's, by _timeout.
        message = f"not done in {task.timeout_s} s; the same command goes on where it was, --timeout gives more time"
        # The first thing said is what the board is.
        return Flashed(
            board.destination, release=task.config.release, exit_code=1, message=message, reached=bool(heard)
        )
    except Exception as err:  # whatever one board does to us, the others go on
        message = f"{type(err).__name__} on the workstation ({err})"
        return Flashed(board.destination, release=task.config.release, exit_code=1, message=message)


def _lines(asked: int) -> Iterator[bytes]:
    """What is asked; when it closes although a wave is at work, whoever asked is gone, and all of us end."""
    queue: Queue[bytes] = Queue()

    def read() -> None:
        for line in FileObject(asked, "rb"):
            queue.put(line)
        os.killpg(0, signal.SIGTERM)

    gevent.spawn(read)
    while True:
        yield queue.get()


def _write(descriptor: int, line: bytes) -> None:
    # In one piece: no other greenlet's line comes between.
    while line:
        line = line[os.write(descriptor, line) :]


if __name__ == "__main__":
    main()
