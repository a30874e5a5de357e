"""A sink that remembers, for tests and notebooks."""

from __future__ import annotations

from device.prediction import Prediction


class ListSink:
    """Implements ``Sink``: ``received`` holds every prediction."""

    def __init__(self) -> None:
        self.received: list[Prediction] = []
        self.closed = False

    def write(self, prediction: Prediction) -> None:
        """See ``Sink.write``."""
        self.received.append(prediction)

    def close(self) -> None:
        """See ``Sink.close``."""
        self.closed = True
