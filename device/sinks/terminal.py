"""For a person who watches: a line when the answer changes, and in between one line that is kept up to date."""

from __future__ import annotations

import sys
import time

from device.prediction import Prediction

_REFRESH_S = 0.2
_ERASE_LINE = "\r\x1b[K"
_BAR_WIDTH = 20


class TerminalSink:
    """Implements ``Sink``, on standard output."""

    def __init__(self) -> None:
        self._interactive = sys.stdout.isatty()
        self._refreshed = 0.0
        self._name = ""

    def write(self, prediction: Prediction) -> None:
        """See ``Sink.write``."""
        if prediction.event is not None or prediction.name != self._name:
            self._name = prediction.name
            self._print_change(prediction)
        elif self._interactive and time.monotonic() - self._refreshed > _REFRESH_S:
            self._refreshed = time.monotonic()
            sys.stdout.write(_ERASE_LINE + _line(prediction))
            sys.stdout.flush()

    def close(self) -> None:
        """See ``Sink.close``."""
        if self._interactive:
            sys.stdout.write(_ERASE_LINE)
            sys.stdout.flush()

    def _print_change(self, prediction: Prediction) -> None:
        erase = _ERASE_LINE if self._interactive else ""
        sys.stdout.write(erase + _line(prediction) + "\n")
        sys.stdout.flush()


def _line(prediction: Prediction) -> str:
    filled = round(prediction.probability * _BAR_WIDTH)
    bar = "#" * filled + "." * (_BAR_WIDTH - filled)
    single = not prediction.name or prediction.camera.endswith(prediction.name)
    where = f"frame {prediction.frame:>6}" if single else prediction.name
    label = prediction.answer or f"unknown ({prediction.top[0][0]}?)"
    return f"{where}  [{bar}] {prediction.probability:4.0%}  {label}  {prediction.age_ms:.0f} ms"
