"""A pin that follows the answer: a lamp, a relay, a pusher."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from device.errors import SinkError
from device.prediction import Prediction
from device.sinks.base import Result, Want
from device.sinks.options import choice, name, number, read_options
from device.status import State, Status

_INSTALL = "run: pip install 'edgegraft[board]' lgpio"
_OPTIONS = {
    "class": name(),
    "active": choice({"high": True, "low": False}),
    "pulse": number(0.001, 3600),
    "min": number(0, 3600),
}


class Pin(Protocol):
    """What is used of ``gpiozero.DigitalOutputDevice``; ``blink`` works in a thread of its own."""

    def on(self) -> None: ...

    def off(self) -> None: ...

    def blink(self, on_time: float, off_time: float, n: int) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class GpioConfig:
    """When the pin is on.

    Attributes:
        label: while this is a camera's or region's settled answer.
        pulse_s: instead, for so long from the moment at which it becomes that; None is without.
        least_s: once on it stays on for so long, to spare a relay.
    """

    label: str
    pulse_s: float | None = None
    least_s: float = 0.0


class GpioSink:
    """Implements ``Sink``. Of several cameras and regions one is enough for the pin to be on.

    A camera that is degraded holds it on no longer. When the whole is degraded for another reason than a sink, on which
    no answer depends, none does. It is off as well when this is closed, and at the end of the process.

    Args:
        pin: an open output; closed with this.
        config: see there.
        clock: seconds, monotonic.
    """

    def __init__(self, pin: Pin, config: GpioConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._pin = pin
        self._config = config
        self._clock = clock
        self._holding: set[tuple[str, str]] = set()
        self._distrusted: frozenset[str] = frozenset()
        self._distrusts_all = False
        self._on_at: float | None = None
        pin.off()

    def wants(self, prediction: Prediction) -> Want:
        """See ``Sink.wants``."""
        return Want.PREDICTION

    def write(self, result: Result) -> None:
        """See ``Sink.write``."""
        prediction = result.prediction
        key = prediction.camera, prediction.region
        held = key in self._holding
        if prediction.settled != self._config.label or self._distrusts_all or prediction.camera in self._distrusted:
            self._holding.discard(key)
        else:
            self._holding.add(key)
            if self._config.pulse_s is not None and not held:
                self._pin.blink(self._config.pulse_s, 0, 1)
        self._follow()

    def report(self, status: Status) -> None:
        """See ``Sink.report``."""
        self._distrusted = frozenset(camera.name for camera in status.cameras if camera.state is State.DEGRADED)
        explained = self._distrusted or any(sink.error for sink in status.sinks)
        self._distrusts_all = status.state is State.DEGRADED and not explained
        kept = {key for key in self._holding if not self._distrusts_all and key[0] not in self._distrusted}
        if (self._distrusts_all or self._distrusted) and not kept:
            self._switch_off()  # at once: whoever set a least time did not mean an answer that nobody stands for
        self._holding = kept
        self._follow()

    def close(self) -> None:
        """See ``Sink.close``."""
        self._switch_off()
        self._pin.close()

    def _follow(self) -> None:
        if self._config.pulse_s is not None:
            return
        if self._holding and self._on_at is None:
            self._pin.on()
            self._on_at = self._clock()
        elif not self._holding and self._on_at is not None and self._clock() - self._on_at >= self._config.least_s:
            self._switch_off()

    def _switch_off(self) -> None:
        self._pin.off()
        self._on_at = None


def open_gpio(uri: str) -> GpioSink:
    """``gpio:17?class=ripe&active=high&pulse=0.5&min=2``; the pin as gpiozero names it, e.g. 17, GPIO17 or BOARD11.

    ``class`` is needed. ``active=low``: on is 0 volts. ``pulse`` and ``min`` are seconds.

    Raises:
        SinkError: not understood, gpiozero or what it needs of the board is missing, or there is no such pin, or it
            is in use.
    """
    target, values = read_options(uri, _OPTIONS, needed=["class"])
    if "pulse" in values and "min" in values:
        raise SinkError(f"{uri}: 'pulse' says how long the pin is on already; leave 'min' out")
    pin = _open_pin(uri, target, values.get("active", True))
    return GpioSink(pin, GpioConfig(values["class"], values.get("pulse"), values.get("min", 0.0)))


def _open_pin(uri: str, target: str, active_high: bool) -> Pin:
    try:
        import gpiozero
        from gpiozero import exc
    except ModuleNotFoundError as err:
        raise SinkError(f"{uri}: gpiozero is not installed here; {_INSTALL}") from err
    spec: Any = int(target) if target.isascii() and target.isdigit() else target
    try:
        pin: Pin = gpiozero.DigitalOutputDevice(spec, active_high=active_high, initial_value=False)
    except exc.BadPinFactory as err:
        raise SinkError(f"{uri}: this machine has no pins that gpiozero can reach; on a board {_INSTALL}") from err
    except exc.PinInvalidPin as err:
        raise SinkError(f"{uri}: there is no pin '{target}'; GPIO numbers are meant, run 'pinout' to see them") from err
    except exc.GPIOPinInUse as err:
        raise SinkError(f"{uri}: pin {target} is in use by another sink; name another pin") from err
    except (exc.GPIOZeroError, OSError, RuntimeError) as err:
        raise SinkError(
            f"{uri}: pin {target} does not open ({err}); check that no other program uses it, and the right to "
            f"/dev/gpiochip*: sudo usermod -aG gpio $USER"
        ) from err
    return pin
