"""What every sink is."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from device.cameras.base import Frame
from device.prediction import Prediction
from device.status import Status

# A disk that fails so now is no reason not to classify: it is tried again at every write.
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A prediction and, for a sink that wants it, the frame that it is about: whole, also where a region was judged."""

    prediction: Prediction
    frame: Frame | None = None


class Want(Enum):
    """How much of a result a sink takes. Frames are large: only what is wanted waits in a queue."""

    NOTHING = "nothing"
    PREDICTION = "prediction"
    FRAME = "frame"


class Sink(Protocol):
    """Takes results somewhere. ``wants`` is called by the loop, everything else by one other thread."""

    def wants(self, prediction: Prediction) -> Want:
        """Whether this one is worth delivering; quick, for it is asked for every frame."""

    def write(self, result: Result) -> None:
        """Deliver one result.

        Raises:
            SinkError: it could not be delivered.
            SinkGone: nobody listens any more, and that is no fault.
        """

    def report(self, status: Status) -> None:
        """Take notice of the state of the whole, every few seconds and when it changes.

        Raises:
            SinkError, SinkGone: as ``write``.
        """

    def close(self) -> None:
        """Deliver what is left, within seconds, and release what is held."""


class SinkGone(Exception):  # noqa: N818 - not an error: a reader such as ``head`` has seen enough
    """Whoever read this sink has left; the loop ends."""
