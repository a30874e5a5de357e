"""The pin that follows the answer, on gpiozero's own mock pins."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sink_inputs import entered, prediction, result, status

from device.errors import SinkError
from device.sinks import open_sink
from device.sinks.base import Result, Want
from device.sinks.gpio import GpioConfig, GpioSink, open_gpio
from device.status import State

gpiozero = pytest.importorskip("gpiozero", reason="gpiozero is not installed; pip install 'edgegraft[board]'")


@pytest.fixture(autouse=True)
def factory() -> Iterator[Any]:
    from gpiozero.pins.mock import MockFactory

    before = gpiozero.Device.pin_factory
    gpiozero.Device.pin_factory = MockFactory()
    yield gpiozero.Device.pin_factory
    gpiozero.Device.pin_factory.reset()
    gpiozero.Device.pin_factory = before


def about(settled: str | None, camera: str = "scene:", region: str = "") -> Result:
    return Result(prediction(settled=settled, camera=camera, region=region))


def test_the_pin_is_on_while_the_settled_answer_is_the_class(factory: Any) -> None:
    sink = open_sink("gpio:17?class=ripe")
    pin = factory.pin(17)
    assert (pin.function, pin.state) == ("output", 0)
    assert sink.wants(prediction()) is Want.PREDICTION
    seen = []
    for settled in (None, "ripe", "ripe", "rotten", "ripe", None):
        sink.write(about(settled))
        seen.append(int(pin.state))
    assert seen == [0, 1, 1, 0, 1, 0]
    sink.write(about("ripe"))
    sink.close()
    assert pin.function == "input"


def test_active_low_is_the_other_way_round_from_the_first_moment(factory: Any) -> None:
    sink = open_gpio("gpio:GPIO4?class=ripe&active=low")
    pin = factory.pin(4)
    seen = [int(pin.state)]
    sink.write(about("ripe"))
    seen.append(int(pin.state))
    sink.write(about(None))
    assert [*seen, int(pin.state)] == [1, 0, 1]


def test_of_several_cameras_and_regions_one_is_enough(factory: Any) -> None:
    sink = open_gpio("gpio:17?class=ripe")
    for each in (about("ripe", "a"), about("ripe", "b", "left"), about(None, "a")):
        sink.write(each)
    assert factory.pin(17).state == 1
    sink.write(about(None, "b", "left"))
    assert factory.pin(17).state == 0


def test_a_degraded_camera_holds_the_pin_no_longer_until_it_is_well(factory: Any) -> None:
    sink = open_gpio("gpio:17?class=ripe&min=3600")
    pin = factory.pin(17)
    sink.write(about("ripe"))
    sink.report(status())
    assert pin.state == 1
    sink.report(status(State.DEGRADED, {"scene:": State.DEGRADED}))
    assert pin.state == 0
    sink.write(about("ripe"))  # e.g. too slow, but not dead
    assert pin.state == 0
    sink.report(status())
    sink.write(about("ripe"))
    assert pin.state == 1
    sink.report(status(State.DEGRADED))
    assert pin.state == 0


def test_another_camera_or_a_broken_sink_are_no_reason(factory: Any) -> None:
    sink = open_gpio("gpio:17?class=ripe")
    sink.write(about("ripe"))
    sink.report(status(State.DEGRADED, sink_error="connection refused"))
    sink.report(status(State.DEGRADED, {"scene:": State.OK, "other": State.DEGRADED}))
    assert factory.pin(17).state == 1


class _Switch:
    """Implements ``Pin``."""

    def __init__(self) -> None:
        self.state = False

    def on(self) -> None:
        self.state = True

    def off(self) -> None:
        self.state = False

    def blink(self, on_time: float, off_time: float, n: int) -> None:
        raise AssertionError("no pulse was asked for")

    def close(self) -> None:
        """Nothing is held."""


def test_a_least_time_spares_the_relay() -> None:
    now = 100.0
    switch = _Switch()
    sink = GpioSink(switch, GpioConfig("ripe", least_s=2.0), lambda: now)
    sink.write(about("ripe"))
    now = 101.9
    sink.write(about(None))
    assert switch.state
    now = 102.0
    sink.report(status())
    assert not switch.state


def _until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def test_a_pulse_comes_once_and_ends_by_itself(factory: Any) -> None:
    sink = open_gpio("gpio:17?class=ripe&pulse=0.2")
    pin = factory.pin(17)
    pin.clear_states()
    for _ in range(5):
        sink.write(result(entered(settled="ripe")))
    assert _until(lambda: [int(each.state) for each in pin.states] == [0, 1, 0])
    sink.write(about(None))
    sink.write(about("ripe"))
    assert _until(lambda: [int(each.state) for each in pin.states] == [0, 1, 0, 1, 0])


def test_closing_or_trouble_cuts_a_pulse_short(factory: Any) -> None:
    sink = open_gpio("gpio:17?class=ripe&pulse=3600")
    sink.write(about("ripe"))
    assert _until(lambda: factory.pin(17).state == 1)
    sink.report(status(State.DEGRADED, {"scene:": State.DEGRADED}))
    assert factory.pin(17).state == 0
    sink.close()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("gpio:17", "option 'class' is missing"),
        ("gpio:17?class=", "expected the name of a class"),
        ("gpio:?class=a", "expected a name"),
        ("gpio:99?class=a", "there is no pin '99'.*pinout"),
        ("gpio:lamp?class=a", "there is no pin 'lamp'"),
        ("gpio:17?class=a&active=up", "expected one of high, low"),
        ("gpio:17?class=a&pulse=0", "'pulse' is '0'"),
        ("gpio:17?class=a&pulse=1&min=1", "leave 'min' out"),
    ],
)
def test_what_cannot_be_is_said(uri: str, says: str) -> None:
    with pytest.raises(SinkError, match=says):
        open_gpio(uri)


def test_one_pin_serves_one_sink() -> None:
    first = open_gpio("gpio:17?class=a")
    with pytest.raises(SinkError, match="in use"):
        open_gpio("gpio:17?class=b")
    first.close()
    open_gpio("gpio:17?class=b").close()


_OPEN = """
import sys
from device.errors import SinkError
from device.sinks.gpio import open_gpio
try:
    sink = open_gpio("gpio:17?class=ripe")
except SinkError as err:
    sys.exit(str(err))
"""


def test_a_machine_without_pins_or_gpiozero_says_what_to_install() -> None:
    def ran(script: str, *options: str) -> str:
        command = [sys.executable, *options, "-c", script]
        child = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert child.returncode == 1
        return child.stderr.strip().splitlines()[-1]

    assert "no pins that gpiozero can reach; on a board run: pip install" in ran(_OPEN)
    assert "gpiozero is not installed here; run: pip install 'edgegraft[board]'" in ran(
        "import sys; sys.modules['gpiozero'] = None" + _OPEN
    )


def test_a_process_that_ends_without_closing_lets_the_pin_go() -> None:
    script = """
import sys
from gpiozero import Device
from gpiozero.pins.mock import MockFactory
Device.pin_factory = factory = MockFactory()
pin = factory.pin(17)
sys.path.insert(0, sys.argv[1])
from sink_inputs import prediction
from device.sinks.base import Result
from device.sinks.gpio import open_gpio
sink = open_gpio("gpio:17?class=rose")
sink.write(Result(prediction()))
print(int(pin.state))
pin.close = lambda close=pin.close: (close(), print(pin.function))
raise SystemExit(3)
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (child.returncode, child.stdout.split()[:2]) == (3, ["1", "input"]), child.stderr
