"""What the trials of a search leave on disk beside its journal, and which of them somebody works on.

Imports no TensorFlow.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from pipeline.callbacks.state import numbered, unnumbered
from pipeline.callbacks.storage import read_tensors, write_tensors
from pipeline.errors import TrainingError
from pipeline.run import WEIGHTS

_LOCK = "lock"


class TrialFolders:
    """A folder for each trial, which every process of the search can reach.

    A process at work on a trial holds a lock in its folder, of which the kernel lets go when the process ends, however
    it ends. On a network file system locks have to work (as they do with NFS unless it is mounted with ``nolock``).

    Args:
        storage: the journal.
        study: name of the study, for another one may share the journal.
    """

    def __init__(self, storage: Path, study: str) -> None:
        self._root = storage.parent / f"trials-{study}"
        self._root.mkdir(parents=True, exist_ok=True)

    def folder(self, number: int) -> Path:
        """Of one trial."""
        return self._root / f"trial-{number}"

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """For one process of the search at a time: the others wait."""
        with (self._root / _LOCK).open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def claim(self, number: int) -> IO[bytes]:
        """Begin to work on a trial, until what this gives is closed; the caller is ``exclusive``."""
        self.folder(number).mkdir(exist_ok=True)
        stream = (self.folder(number) / _LOCK).open("wb")
        fcntl.flock(stream, fcntl.LOCK_EX)
        return stream

    def is_claimed(self, number: int) -> bool:
        """Whether a living process works on a trial."""
        try:
            with (self.folder(number) / _LOCK).open("r+b") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def move(self, number: int, successor: int) -> None:
        """Hand what a trial had done over to the one that goes on with it."""
        if self.folder(number).is_dir():
            self.folder(number).rename(self.folder(successor))

    def forget(self, numbers: Iterable[int]) -> None:
        """These trials were not the best."""
        for number in numbers:
            shutil.rmtree(self.folder(number), ignore_errors=True)

    def save_weights(self, number: int, weights: list[NDArray[Any]]) -> None:
        """Keep the weights of a trial.

        Raises:
            TrainingError: they cannot be written.
        """
        write_tensors(self.folder(number) / WEIGHTS, numbered(weights, "weight"), {"trial": str(number)})

    def load_weights(self, number: int) -> list[NDArray[Any]]:
        """The weights of a trial.

        Raises:
            TrainingError: they are missing or damaged.
        """
        path = self.folder(number) / WEIGHTS
        try:
            return unnumbered(read_tensors(path)[0], "weight")
        except (OSError, ValueError) as err:
            raise TrainingError(
                f"{path}: the best trial's weights are missing or damaged ({err}); all processes of a search need the "
                f"folder of --storage. Remove {self._root} and the journal, and search again"
            ) from err
