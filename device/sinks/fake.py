"""A sink that remembers, for tests and notebooks."""

from __future__ import annotations

from device.prediction import Prediction
from device.sinks.base import Result, Want
from device.status import Status


class ListSink:
    """Implements ``Sink``: ``received`` holds every prediction, ``frames`` how many came with their frame."""

    def __init__(self, want: Want = Want.PREDICTION) -> None:
        self.received: list[Prediction] = []
        self.reports: list[Status] = []
        self.frames = 0
        self._want = want
        self.closed = False

    def wants(self, prediction: Prediction) -> Want:
        """See ``Sink.wants``."""
        return self._want

    def write(self, result: Result) -> None:
        """See ``Sink.write``."""
        self.received.append(result.prediction)
        self.frames += result.frame is not None

    def report(self, status: Status) -> None:
        """See ``Sink.report``."""
        self.reports.append(status)

    def close(self) -> None:
        """See ``Sink.close``."""
        self.closed = True
