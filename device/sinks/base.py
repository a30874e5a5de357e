"""What every sink is."""

from __future__ import annotations

from typing import Protocol

from device.prediction import Prediction


class Sink(Protocol):
    """Takes predictions somewhere."""

    def write(self, prediction: Prediction) -> None:
        """Deliver one prediction.

        Raises:
            SinkError: it could not be delivered.
            SinkGone: nobody listens any more, and that is no fault.
        """

    def close(self) -> None:
        """Deliver what is left and release what is held."""


class SinkGone(Exception):  # noqa: N818 - not an error: a reader such as ``head`` has seen enough
    """Whoever read this sink has left; the loop ends."""
