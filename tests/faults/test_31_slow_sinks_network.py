"""Row 31: a broker or web hook that is down or takes nothing: the queue is bounded, the oldest is dropped and counted,
and whoever offers results is never held up.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import Listener, MqttBroker, free_port, make_broker

from device.prediction import PREDICTION_SCHEMA, Event, Prediction, StageTimes
from device.sinks import open_sink
from device.sinks.base import Result
from device.sinks.queued import Overflow, QueuedSink
from device.status import SinkStatus

PATIENCE_S = 30.0
FRAMES = 2000


def prediction(frame: int) -> Prediction:
    times = StageTimes(0.0, 0.0, 0.0, 0.0)
    event, top = Event.CHANGED, (("red", 0.9),)
    return Prediction(PREDICTION_SCHEMA, "door", frame, 0.0, 1.0, "red", 0.9, top, False, event, times, 0)


@contextlib.contextmanager
def queued(uri: str) -> Iterator[tuple[QueuedSink, list[str]]]:
    told: list[str] = []
    sink = QueuedSink(open_sink(uri), "it", Overflow.DROP_OLDEST, told.append)
    try:
        yield sink, told
    finally:
        # Closing waits some seconds for one that is stuck, and tests need not.
        threading.Thread(target=sink.close, daemon=True).start()


def offer_all(sink: QueuedSink) -> float:
    """Seconds that the longest of many offers took."""
    longest = 0.0
    for frame in range(FRAMES):
        began = time.monotonic()
        sink.offer(Result(prediction(frame)))
        longest = max(longest, time.monotonic() - began)
    return longest


def awaited(sink: QueuedSink, field: str) -> SinkStatus:
    deadline = time.monotonic() + PATIENCE_S
    while not getattr(sink.status(), field) and time.monotonic() < deadline:
        time.sleep(0.05)
    return sink.status()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MqttBroker]:
    made = make_broker(tmp_path / "broker")
    made.start()
    yield made
    made.stop()


def test_a_web_hook_that_never_answers_or_is_down_holds_nobody_up() -> None:
    # It takes connections, and nothing is ever read from them.
    server = socket.create_server(("127.0.0.1", 0))
    uris = (f"http://127.0.0.1:{server.getsockname()[1]}/#timeout=0.3", f"http://127.0.0.1:{free_port()}/")
    with server, queued(uris[0]) as (silent, told), queued(uris[1]) as (down, _):
        for sink in (silent, down):
            assert offer_all(sink) < PATIENCE_S / 10
        for sink, reason in ((silent, "does not answer in time"), (down, "is not reached")):
            status = awaited(sink, "error")
            assert status.queued <= 256
            assert status.dropped >= FRAMES - 256 - 10
            assert reason in status.error
        assert len(told) == 1, "it is told once, not for every frame"


def test_a_broker_that_is_down_holds_nobody_up_and_gets_the_newest_events(broker: MqttBroker) -> None:
    broker.stop()
    with queued(f"mqtt://127.0.0.1:{broker.port}/b?discovery=0") as (sink, _):
        assert offer_all(sink) < PATIENCE_S / 10
        deadline = time.monotonic() + PATIENCE_S
        while not sink.status().error and time.monotonic() < deadline:
            time.sleep(0.2)
            sink.offer(Result(prediction(FRAMES)))
        assert "is not reached" in sink.status().error
        broker.start()
        listener = Listener(broker.port)
        listener.wait("b/availability", lambda got: got == [b"online"])
        sink.offer(Result(prediction(FRAMES + 1)))
        got = listener.wait("b/door/event", lambda got: bool(got) and json.loads(got[-1])["frame"] == FRAMES + 1)
        frames = [json.loads(event)["frame"] for event in got]
        assert len(frames) <= 257
        assert frames == sorted(frames)
        listener.close()


def test_a_broker_that_takes_nothing_any_more_holds_nobody_up(broker: MqttBroker) -> None:
    with queued(f"mqtt://127.0.0.1:{broker.port}/b?every=1&discovery=0") as (sink, _):
        listener = Listener(broker.port)
        listener.wait("b/availability")
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        try:
            assert offer_all(sink) < PATIENCE_S / 10
            status = awaited(sink, "error")
            assert "too slowly" in status.error or "lost" in status.error
            assert status.queued <= 256
            assert status.dropped + status.failed > 0
        finally:
            broker.process.send_signal(signal.SIGCONT)
        listener.close()
