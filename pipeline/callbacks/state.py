"""What a callback must offer so that an interrupted training can go on. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray[Any]]


class Stateful(Protocol):
    """Remembers something from epoch to epoch."""

    def state(self) -> State:
        """All of it, at the end of an epoch; {} before training begins."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``state`` gave, in a new process, before ``fit`` is called.

        Raises:
            KeyError: an entry is missing.
        """


def numbered(arrays: list[NDArray[Any]], name: str) -> State:
    """A list of arrays as entries ``name/0000``, ``name/0001``, ..."""
    return {f"{name}/{index:04}": np.asarray(array) for index, array in enumerate(arrays)}


def unnumbered(state: Mapping[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    """The list that ``numbered`` was given; [] where there is none."""
    return [state[key] for key in sorted(key for key in state if key.startswith(f"{name}/"))]
