"""The queue around a sink: one that is slow or down slows nothing, loses the oldest, and says so."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import plain_picture

from device.cameras.fake import FakeCamera
from device.errors import SinkError
from device.prediction import PREDICTION_SCHEMA, Prediction, StageTimes
from device.sinks.base import Result, Sink, SinkGone, Want
from device.sinks.fake import ListSink
from device.sinks.queued import Overflow, QueuedSink

PATIENCE_S = 30.0


def result(number: int) -> Result:
    frame = FakeCamera([plain_picture("red", 8, 8)]).read()
    times = StageTimes(0.0, 0.0, 0.0, 0.0)
    prediction = Prediction(
        PREDICTION_SCHEMA, "x", number, 0.0, 1.0, "red", 0.9, (("red", 0.9),), False, None, times, 0
    )
    return Result(prediction, frame)


class Stuck(ListSink):
    """Does not come back from its first delivery until it is released."""

    def __init__(self, want: Want = Want.PREDICTION) -> None:
        super().__init__(want)
        self.entered, self.released = threading.Event(), threading.Event()

    def write(self, result: Result) -> None:
        self.entered.set()
        assert self.released.wait(PATIENCE_S)
        super().write(result)


class Failing(ListSink):
    def __init__(self, error: Exception, working: bool = False) -> None:
        super().__init__()
        self.error, self.working = error, working

    def write(self, result: Result) -> None:
        if not self.working:
            raise self.error
        super().write(result)


@pytest.fixture
def queued() -> Iterator[Callable[[Sink, Overflow], QueuedSink]]:
    opened: list[QueuedSink] = []

    def make(sink: Sink, overflow: Overflow) -> QueuedSink:
        opened.append(QueuedSink(sink, "it", overflow, told.append))
        return opened[-1]

    told: list[str] = []
    make.told = told  # type: ignore[attr-defined]
    yield make
    for each in opened:
        with contextlib.suppress(SinkError, ZeroDivisionError):
            each.close()


def numbers(sink: ListSink) -> list[int]:
    return [prediction.frame for prediction in sink.received]


def test_everything_is_delivered_in_order_and_closing_waits_for_it(queued: Callable[..., QueuedSink]) -> None:
    sink = ListSink()
    around = queued(sink, Overflow.DROP_OLDEST)
    for number in range(200):
        around.offer(result(number))
    around.close()
    assert numbers(sink) == list(range(200))
    assert sink.closed
    assert (around.status().written, around.status().dropped) == (200, 0)


def test_a_stuck_sink_blocks_nothing_and_loses_the_oldest(queued: Callable[..., QueuedSink]) -> None:
    sink, other = Stuck(), ListSink()
    around, beside = queued(sink, Overflow.DROP_OLDEST), queued(other, Overflow.DROP_OLDEST)
    around.offer(result(0))
    assert sink.entered.wait(PATIENCE_S)
    for number in range(1, 1001):
        around.offer(result(number))
        if number % 100 == 0:
            beside.offer(result(number))
    assert around.status().dropped == 1000 - 256
    beside.close()
    assert len(other.received) == 10
    sink.released.set()
    around.close()
    assert numbers(sink) == [0, *range(1001 - 256, 1001)]


def test_frames_that_wait_are_few_for_they_are_large(queued: Callable[..., QueuedSink]) -> None:
    sink = Stuck(Want.FRAME)
    around = queued(sink, Overflow.DROP_OLDEST)
    around.offer(result(0))
    assert sink.entered.wait(PATIENCE_S)
    for number in range(1, 101):
        around.offer(result(number))
    assert around.status().queued == 16
    sink.released.set()
    around.close()
    assert numbers(sink) == [0, *range(85, 101)]


def test_of_a_file_nothing_is_lost_the_loop_waits(queued: Callable[..., QueuedSink]) -> None:
    sink = Stuck()
    around = queued(sink, Overflow.WAIT)
    offered = []

    def offer() -> None:
        for number in range(600):
            around.offer(result(number))
            offered.append(number)

    loop = threading.Thread(target=offer, daemon=True)
    loop.start()
    assert sink.entered.wait(PATIENCE_S)
    loop.join(0.2)
    assert loop.is_alive()
    assert len(offered) < 300
    sink.released.set()
    loop.join(PATIENCE_S)
    around.close()
    assert numbers(sink) == list(range(600))


def test_a_failure_is_counted_told_once_and_forgotten_when_it_is_over(queued: Callable[..., QueuedSink]) -> None:
    sink = Failing(SinkError("broker.local: no answer; check the address"))
    around = queued(sink, Overflow.DROP_OLDEST)
    for number in range(5):
        around.offer(result(number))
    around.close()
    status = around.status()
    assert (status.failed, status.written) == (5, 0)
    assert status.error == "broker.local: no answer; check the address"
    assert queued.told == ["sink it: broker.local: no answer; check the address"]  # type: ignore[attr-defined]


def test_where_nothing_may_be_lost_a_failure_reaches_the_loop(queued: Callable[..., QueuedSink]) -> None:
    around = queued(Failing(SinkError("events.jsonl: No space left on device")), Overflow.WAIT)
    with pytest.raises(SinkError, match="No space left"):
        for number in range(1000):
            around.offer(result(number))


def test_a_failure_at_the_very_end_is_told_at_closing(queued: Callable[..., QueuedSink]) -> None:
    around = queued(Failing(SinkError("events.jsonl: No space left on device")), Overflow.WAIT)
    around.offer(result(0))
    with pytest.raises(SinkError, match="No space left"):
        around.close()


@pytest.mark.parametrize("overflow", list(Overflow))
def test_a_listener_that_left_ends_the_loop(queued: Callable[..., QueuedSink], overflow: Overflow) -> None:
    around = queued(Failing(SinkGone()), overflow)
    with pytest.raises(SinkGone):
        for number in range(100_000):
            around.offer(result(number))


def test_a_bug_in_a_sink_is_no_silence(queued: Callable[..., QueuedSink]) -> None:
    around = queued(Failing(ZeroDivisionError("ours")), Overflow.DROP_OLDEST)
    with pytest.raises(ZeroDivisionError):
        for number in range(100_000):
            around.offer(result(number))


def test_a_full_disk_is_counted_and_the_live_loop_goes_on(tmp_path: Path, queued: Callable[..., QueuedSink]) -> None:
    from device.sinks import open_sink

    around = queued(open_sink("jsonl:/dev/full"), Overflow.DROP_OLDEST)
    for number in range(3):
        around.offer(result(number))
    around.close()
    assert around.status().failed == 3
    assert "No space left on device" in around.status().error
