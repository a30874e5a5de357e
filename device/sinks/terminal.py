"""For a person who watches: a line when the answer changes, and in between one line that is kept up to date."""

from __future__ import annotations

import sys
import time

from device.prediction import Prediction
from device.sinks.base import Result, Want
from device.status import Status

_REFRESH_S = 0.2
_ERASE_LINE = "\r\x1b[K"
_BAR_WIDTH = 20


class TerminalSink:
    """Implements ``Sink``, on standard output."""

    def __init__(self) -> None:
        self._interactive = sys.stdout.isatty()
        self._refreshed = 0.0
        # The file that each camera's and region's last line was about.
        self._names: dict[tuple[str, str], str] = {}

    def wants(self, prediction: Prediction) -> Want:
        """See ``Sink.wants``: what would change the screen."""
        return Want.PREDICTION if self._interactive or self._is_news(prediction) else Want.NOTHING

    def report(self, status: Status) -> None:
        """See ``Sink.report``: what is wrong is told on standard error."""

    def write(self, result: Result) -> None:
        """See ``Sink.write``."""
        prediction = result.prediction
        if self._is_news(prediction):
            self._names[prediction.camera, prediction.region] = prediction.name
            self._print_change(prediction)
        elif self._interactive and time.monotonic() - self._refreshed > _REFRESH_S:
            self._refreshed = time.monotonic()
            sys.stdout.write(_ERASE_LINE + self._line(prediction))
            sys.stdout.flush()

    def close(self) -> None:
        """See ``Sink.close``."""
        if self._interactive:
            sys.stdout.write(_ERASE_LINE)
            sys.stdout.flush()

    def _print_change(self, prediction: Prediction) -> None:
        erase = _ERASE_LINE if self._interactive else ""
        sys.stdout.write(erase + self._line(prediction) + "\n")
        sys.stdout.flush()

    def _is_news(self, prediction: Prediction) -> bool:
        shown = self._names.get((prediction.camera, prediction.region), "")
        return prediction.event is not None or prediction.name != shown

    def _line(self, prediction: Prediction) -> str:
        filled = round(prediction.probability * _BAR_WIDTH)
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        label = prediction.answer or f"unknown ({prediction.top[0][0]}?)"
        if prediction.event is not None and prediction.settled != prediction.answer:
            label = f"{label}, settled: {prediction.settled or 'nothing'}"
        return f"{self._where(prediction)}  [{bar}] {prediction.probability:4.0%}  {label}  {prediction.age_ms:.0f} ms"

    def _where(self, prediction: Prediction) -> str:
        single = not prediction.name or prediction.camera.endswith(prediction.name)
        where = f"frame {prediction.frame:>6}" if single else prediction.name
        several = len({camera for camera, _ in self._names}) > 1
        return "  ".join(each for each in (prediction.camera if several else "", prediction.region, where) if each)
