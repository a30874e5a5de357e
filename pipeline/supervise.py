"""A worker of a training on several machines: a process that trains, and one that restarts it. Imports no TensorFlow.

When a worker is killed the others cannot go on in the same process: TensorFlow joins a cluster once. So each worker
trains in a child process; when that has lost the others, or dies, it is started again, joins whoever is there by then,
and all go on after the last whole epoch. A worker that was killed as a whole is started again by Slurm, Kubernetes or
whoever started it (see ``scripts/``).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from enum import Enum, auto
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from device.console import say
from device.errors import EdgegraftError
from pipeline.config import TrainConfig, Workers
from pipeline.errors import TrainingError
from pipeline.run import BACKUP, RECORD
from pipeline.workers import wait_seconds

# Without a whole epoch between them; more would be a storm.
_MOST_RESTARTS = 6
_LONGEST_PAUSE_S = 30.0
# For a child that has reported its end.
_TIDY_UP_S = 10.0
_PR_SET_PDEATHSIG = 1


class Phase(Enum):
    """What a child reports while it trains."""

    WAITING = auto()
    JOINED = auto()


class LostWorkerError(TrainingError):
    """Another worker, or this one's child process, is gone; joining again helps."""


Train = Callable[[TrainConfig, Callable[[Phase], None]], None]


def supervise(config: TrainConfig, train: Train) -> None:
    """Train in a child process, and again in a new one whenever workers have lost one another.

    Args:
        config: what; its ``workers`` say which this is.
        train: of module level; is called in the child with a function that it tells when it begins to wait for the
            other workers and when all are there. When it returns, the training is finished in all workers.

    Raises:
        TrainingError: the others did not come, or the workers lose one another again and again.
        EdgegraftError: what ``train`` raised.
    """
    restarts, seen, joined = 0, _epochs(config.out), False
    while True:
        attempt = _Attempt(config, train)
        try:
            attempt.watch()
            return
        except LostWorkerError as err:
            joined = joined or attempt.joined
            if joined and (config.out / RECORD).is_file():
                return  # worker 0 had finished
            restarts, seen = (restarts + 1, seen) if _epochs(config.out) == seen else (1, _epochs(config.out))
            if restarts > _MOST_RESTARTS:
                raise TrainingError(
                    f"{_name(config.workers)}: {_MOST_RESTARTS} new starts without a whole epoch ({err}); see the logs "
                    f"of the other workers, and run it again: it goes on after the last whole epoch"
                ) from err
            say(f"{_name(config.workers)}: {err}; joins the others again (try {restarts} of {_MOST_RESTARTS})")
            time.sleep(min(2.0 ** (restarts - 1), _LONGEST_PAUSE_S))


class _Attempt:
    def __init__(self, config: TrainConfig, train: Train) -> None:
        self._workers, self.joined = config.workers, False
        spawn = multiprocessing.get_context("spawn")
        self._messages, theirs = spawn.Pipe(duplex=False)
        self._child: BaseProcess = spawn.Process(target=_child, args=(config, train, theirs, os.getpid()), daemon=True)
        self._child.start()
        theirs.close()

    def watch(self) -> None:
        """Return when the child has finished; raise what it raised."""
        waiting = False
        try:
            while self._messages.poll(wait_seconds() if waiting else None):
                message = self._messages.recv()
                if message is None or isinstance(message, Exception):
                    # Threads of TensorFlow that still talk to lost workers may hold it up.
                    self._child.join(_TIDY_UP_S)
                if isinstance(message, Exception):
                    raise message
                if message is None:
                    return
                waiting = message is Phase.WAITING
                self.joined = self.joined or message is Phase.JOINED
        except EOFError:
            self._child.join()
            raise self._died() from None
        finally:
            # TensorFlow lets SIGTERM go by while it waits.
            self._child.kill()
            self._child.join()
        raise TrainingError(
            f"{_name(self._workers)}: not all workers came within {wait_seconds():g} s ({self._others()}); "
            "start them with the same --workers, and see that the machines reach one another at these ports"
        )

    def _died(self) -> TrainingError:
        code = self._child.exitcode or 0
        if code < 0:
            return LostWorkerError(f"its process died of {signal.Signals(-code).name}")
        return TrainingError(f"{_name(self._workers)}: failed (exit code {code}); what it said is above")

    def _others(self) -> str:
        return ", ".join(self._workers.addresses)


def _child(config: TrainConfig, train: Train, messages: Connection, parent: int) -> None:
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well, and this one dies with it
    try:
        train(config, messages.send)
        messages.send(None)
    except (EdgegraftError, OSError, MemoryError) as err:
        messages.send(err)
    except Exception as err:
        if not _is_lost_worker(err):
            raise
        messages.send(LostWorkerError(f"lost the others ({_first_line(err)})"))


def _die_with(parent: int) -> None:
    # Python threads do not run while TensorFlow waits, so that the kernel has to see to it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _is_lost_worker(error: Exception) -> bool:
    if "tensorflow" not in sys.modules:
        return False
    from pipeline.distribute import is_lost_worker

    return is_lost_worker(error)


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", error))
    # TensorFlow names the operation in front: {{function_node ...}} {{node ...}} what happened
    lines = re.sub(r"\{\{.*?\}\} ?", "", text).strip().splitlines() or [type(error).__name__]
    return lines[0][:160].rstrip(":, ")


def _epochs(folder: Path) -> frozenset[tuple[str, int]]:
    """Changes with every whole epoch."""
    try:
        return frozenset((path.name, path.stat().st_mtime_ns) for path in (folder / BACKUP).glob("*.safetensors"))
    except OSError:
        return frozenset()


def _name(workers: Workers) -> str:
    return f"worker {workers.index} of {workers.count}"
