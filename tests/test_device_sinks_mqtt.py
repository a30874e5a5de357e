"""The MQTT sink with a real broker: what is published, what is kept, and what Home Assistant makes of it."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from broker import PATIENCE_S, Listener, MqttBroker, make_broker, make_certificates

from device.errors import SinkError
from device.prediction import PREDICTION_SCHEMA, Event, Prediction, StageTimes
from device.sinks.base import Result, Sink, Want
from device.sinks.homeassistant import discovery_payload
from device.sinks.mqtt import open_mqtt
from device.sinks.topics import Topics, slug, topic_level
from device.status import CameraStatus, Health, ModelStatus, State, Status

LOGIN = ("board", "opensesame-4711")


def prediction(frame: int = 0, **changes: Any) -> Prediction:
    fields: dict[str, Any] = {
        "schema": PREDICTION_SCHEMA,
        "camera": "door",
        "frame": frame,
        "captured_at": 1_700_000_000.0 + frame,
        "age_ms": 12.5,
        "answer": "red",
        "probability": 0.9,
        "top": (("red", 0.9), ("blue", 0.1)),
        "unknown": False,
        "event": None,
        "stages_ms": StageTimes(1.0, 2.0, 3.0, 0.5),
        "dropped": 0,
        "settled": "red",
    }
    return Prediction(**{**fields, **changes})


def status(state: State = State.OK, cameras: tuple[str, ...] = ("door",)) -> Status:
    return Status(
        state=state,
        reasons=('camera "door" {{ 1/0 }}',) if state is State.DEGRADED else (),
        at=1.0,
        started_at=0.0,
        cameras=tuple(CameraStatus(name=name, state=State.OK, since=0.0, frames_per_second=24.9) for name in cameras),
        model=ModelStatus(
            bundle="colours",
            version="1.2.3",
            variant="v",
            engine="litert",
            accelerator="cpu",
            threads=1,
            classes=("red", "green", "blue"),
        ),
        health=Health(cpu_celsius=51.5),
    )


def deliver(sink: Sink, *predictions: Prediction) -> None:
    for one in predictions:
        if sink.wants(one) is not Want.NOTHING:
            sink.write(Result(one))


def trouble(sink: Sink) -> str:
    """The error that reports end in, once they do."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            sink.report(status())
        except SinkError as err:
            return str(err)
        time.sleep(0.05)
    raise AssertionError("no error came")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Callable[..., MqttBroker]]:
    made: list[MqttBroker] = []

    def start(**options: Any) -> MqttBroker:
        made.append(make_broker(tmp_path / f"broker{len(made)}", **options))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.fixture
def opened() -> Iterator[Callable[[str], Sink]]:
    sinks: list[Sink] = []

    def open_one(uri: str) -> Sink:
        sinks.append(open_mqtt(uri))
        return sinks[-1]

    yield open_one
    for sink in sinks:
        sink.close()


@pytest.fixture
def listening() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def listen(*arguments: Any, **options: Any) -> Listener:
        listeners.append(Listener(*arguments, **options))
        return listeners[-1]

    yield listen
    for listener in listeners:
        listener.close()


Start = Callable[..., MqttBroker]
Open = Callable[[str], Sink]
Listen = Callable[..., Listener]


def test_states_events_and_the_status_are_published(broker: Start, opened: Open, listening: Listen) -> None:
    port = broker().port
    listener = listening(port)
    sink = opened(f"mqtt://127.0.0.1:{port}/home/board")
    sink.report(status())
    deliver(
        sink,
        prediction(0, settled=None),
        prediction(1, event=Event.ENTERED),
        *(prediction(frame) for frame in range(2, 50)),
        prediction(50, event=Event.CHANGED, settled="blue", previous="red"),
    )
    events = [json.loads(payload) for payload in listener.wait("home/board/door/event", lambda got: len(got) == 2)]
    assert [(event["event_type"], event["answer"], event["previous"]) for event in events] == [
        ("entered", "red", None),
        ("changed", "blue", "red"),
    ]
    states = [json.loads(payload) for payload in listener.wait("home/board/door/state", lambda got: len(got) == 3)]
    assert [(state["answer"], state["probability"], state["since"] - 1_700_000_000) for state in states] == [
        (None, 0.9, 0.0),
        ("red", 0.9, 1.0),
        ("blue", 0.1, 50.0),
    ], "between events a state is told every few seconds, not with every frame"
    assert json.loads(listener.wait("home/board/status")[-1])["health"]["cpu_celsius"] == 51.5
    assert not listener.of("home/board/door/prediction")
    late = listening(port)
    for topic in ("availability", "door/state", "status"):
        late.wait(f"home/board/{topic}")
    assert {name for name, _, retained in late.messages if retained} >= {"home/board/availability"}
    assert not late.of("home/board/door/event"), "an event that is over is not told to who comes later"
    sink.close()
    assert listener.wait("home/board/availability", lambda got: got[-1] == b"offline") == [b"online", b"offline"]


def test_each_prediction_of_a_region_is_published_where_asked(broker: Start, opened: Open, listening: Listen) -> None:
    port = broker().port
    listener = listening(port)
    sink = opened(f"mqtt://127.0.0.1:{port}/board?every=1&discovery=0")
    sink.report(status())
    deliver(sink, *(prediction(frame, region="left half") for frame in range(600)))
    place = f"board/door/{topic_level('left half')}"
    received = listener.wait(f"{place}/prediction", lambda got: len(got) == 600)
    assert [json.loads(payload)["frame"] for payload in received] == list(range(600))
    assert len(listener.wait(f"{place}/state")) == 1
    assert not [topic for topic, *_ in listener.messages if topic.startswith("homeassistant")]


def test_names_with_characters_of_topics_become_one_level_each() -> None:
    names = ["a/b", "a+b", "a#b", "a\0b", "a b", "$SYS", "", "+", "rtsp://h/p?x=1", "ü" * 500, "Küche", "plain-1.2_x"]
    levels = [topic_level(name) for name in names]
    assert len(set(levels)) == len(names)
    for level in levels:
        assert level
        assert not set(level) & set("+#/\0$ ")
        assert len(level) <= 56
    assert levels[-2:] == ["Küche", "plain-1.2_x"], "what is harmless stays as it is"
    assert all(
        set(slug(name)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for name in names
    )


def test_the_last_will_says_offline_when_the_board_dies(broker: Start, listening: Listen) -> None:
    port = broker().port
    listener = listening(port)
    program = f"from device.sinks.mqtt import open_mqtt; open_mqtt('mqtt://127.0.0.1:{port}/b'); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as child:
        listener.wait("b/availability", lambda got: got == [b"online"])
        child.send_signal(signal.SIGKILL)
        listener.wait("b/availability", lambda got: got == [b"online", b"offline"])
    assert listening(port).wait("b/availability") == [b"offline"], "it is retained"


def test_a_broker_that_stops_and_comes_back_is_found_again(broker: Start, opened: Open, listening: Listen) -> None:
    server = broker()
    sink = opened(f"mqtt://127.0.0.1:{server.port}/b")
    sink.report(status())
    first = listening(server.port)
    deliver(sink, prediction(0, event=Event.ENTERED))
    first.wait("b/door/event")
    server.stop()
    assert trouble(sink).startswith(f"mqtt://127.0.0.1:{server.port}: the broker is not reached (")
    began = time.monotonic()
    for frame in range(1, 4):
        with pytest.raises(SinkError, match="tried again and again"):
            sink.write(Result(prediction(frame, event=Event.CHANGED, settled=f"class {frame}")))
    assert time.monotonic() - began < PATIENCE_S / 4, "nothing waits for a broker that is away"
    server.start()
    listener = listening(server.port)
    listener.wait("b/availability", lambda got: got == [b"online"])
    sink.report(status())
    events = listener.wait("b/door/event", lambda got: len(got) == 3)
    assert [json.loads(event)["answer"] for event in events] == ["class 1", "class 2", "class 3"], "kept and in order"
    assert json.loads(listener.wait("b/door/state")[-1])["answer"] == "class 3"
    listener.wait("homeassistant/device/edgegraft_b/config")


def test_a_broker_that_is_absent_at_the_start_is_waited_for(tmp_path: Path, opened: Open, listening: Listen) -> None:
    server = make_broker(tmp_path / "late")
    sink = opened(f"mqtt://127.0.0.1:{server.port}/b")
    deliver(sink, prediction(0, event=Event.ENTERED))
    server.start()
    try:
        listener = listening(server.port)
        listener.wait("b/availability", lambda got: got[-1:] == [b"online"])
        deliver(sink, prediction(1, event=Event.LEFT, settled=None))
        assert len(listener.wait("b/door/event", lambda got: len(got) == 2)) == 2
    finally:
        server.stop()


def test_closing_without_a_broker_is_quick_and_says_what_was_lost(
    tmp_path: Path, opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = opened(f"mqtt://127.0.0.1:{make_broker(tmp_path / 'none').port}/b")
    deliver(sink, prediction(0, event=Event.ENTERED))
    sink.close()
    assert "1 events could not be delivered" in capsys.readouterr().err


def test_opening_and_closing_leaves_no_thread_and_no_descriptor(broker: Start) -> None:
    port = broker().port

    def once() -> None:
        sink = open_mqtt(f"mqtt://127.0.0.1:{port}/b")
        deliver(sink, prediction(0, event=Event.ENTERED))
        sink.close()

    once()
    gc.collect()
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        once()
    gc.collect()
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before


def test_tls_with_the_right_ca_connects_and_with_another_does_not(
    broker: Start, opened: Open, listening: Listen, tmp_path: Path
) -> None:
    server = broker(tls=True, login=LOGIN)
    password = tmp_path / "password"
    password.write_text(LOGIN[1])
    password.chmod(0o600)
    address = f"mqtts://{LOGIN[0]}@127.0.0.1:{server.port}/b?password=file:{password}"
    make_certificates(tmp_path / "other")
    other = opened(f"{address}&ca={tmp_path / 'other' / 'ca.pem'}")
    sink = opened(f"{address}&ca={server.folder / 'ca.pem'}")
    listener = listening(server.port, LOGIN, server.folder / "ca.pem")
    listener.wait("b/availability", lambda got: got == [b"online"])
    deliver(sink, prediction(0, event=Event.ENTERED))
    listener.wait("b/door/event")
    assert "certificate is not trusted" in trouble(other)
    # The certificate is for 127.0.0.1 and localhost only.
    assert "?ca=FILE" in trouble(opened(f"mqtts://127.0.0.2:{_forwarded(server.port)}/b?ca={server.folder}/ca.pem"))


def _forwarded(port: int) -> int:
    """A port of 127.0.0.2 that leads to one of 127.0.0.1."""
    front = socket.create_server(("127.0.0.2", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()

    def serve() -> None:
        while True:
            near, _ = front.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return int(front.getsockname()[1])


def test_a_wrong_password_is_told_clearly_and_not_repeated(broker: Start, opened: Open, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("not-the-right-one")
    password.chmod(0o600)
    port = broker(login=LOGIN).port
    message = trouble(opened(f"mqtt://{LOGIN[0]}@127.0.0.1:{port}/b?password=file:{password}"))
    assert message.startswith(f"mqtt://127.0.0.1:{port}: the broker refuses the connection (")
    assert "check user and password" in message
    assert "not-the-right-one" not in message


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mqtt://user:hunter2@broker/b", "mqtt://broker: the address holds a password"),
        ("mqtt://user@broker/b?password=hunter2", "is expected as file:PATH or credential:NAME"),
        ("mqtt://broker/b?password=file:/x", "a password needs a user"),
        ("mqtt://user@broker/b?hunter2=1", "unknown option; known are: password, ca"),
        ("mqtt://broker/b?every=hunter2", "the value of 'every' is not 1 or 0"),
        ("mqtt://broker", "is no topic to publish under"),
        ("mqtt://broker/a/%23/b", "is no topic to publish under"),
        ("mqtt://broker/a//b", "is no topic to publish under"),
        ("mqtt://broker/a#b", "'#' cannot be part of a topic"),
        ("mqtt:///a", "has no host"),
        ("mqtt://broker:99999/a", "the address is not valid"),
        ("mqtt://user:hunter2@[broker/a", "the address is not valid"),
        ("mqtt://bro ker/a", "blanks or control characters"),
        ("mqtt://broker/a?ca=/nowhere", "certificates are for mqtts://|no file at"),
        ("mqtts://broker/a?ca=/nowhere", "ca: no file at /nowhere"),
    ],
)
def test_an_address_that_will_not_do_is_refused_without_a_secret(uri: str, message: str) -> None:
    with pytest.raises(SinkError, match=message) as caught:
        open_mqtt(uri)
    assert "hunter2" not in str(caught.value)


def test_home_assistant_is_told_about_everything_there_is(broker: Start, opened: Open, listening: Listen) -> None:
    port = broker().port
    listener = listening(port)
    sink = opened(f"mqtt://127.0.0.1:{port}/home/glass%20house?discovery=ha")
    sink.report(status())
    deliver(sink, prediction(0, event=Event.ENTERED))
    topic = f"ha/device/edgegraft_{slug('home/glass house')}/config"
    found = json.loads(listener.wait(topic, lambda got: b"door_answer" in got[-1] if got else False)[-1])
    components = found["components"]
    assert {key: (each["platform"], each["name"]) for key, each in components.items()} == {
        "problem": ("binary_sensor", "Problem"),
        "cpu_temperature": ("sensor", "CPU temperature"),
        "door_frame_rate": ("sensor", "Frame rate"),
        "door_answer": ("sensor", "Answer"),
        "door_probability": ("sensor", "Probability"),
        "door_event": ("event", "Change"),
    }
    assert found["availability_topic"] == "home/glass house/availability"
    listener.wait(components["door_answer"]["state_topic"])
    listener.wait(components["door_event"]["state_topic"])
    listener.wait(components["problem"]["state_topic"])
    often = len(listener.of(topic))
    sink.report(status())
    sink.close()
    listener.wait("home/glass house/availability", lambda got: got[-1] == b"offline")
    assert len(listener.of(topic)) == often, "it is published again only when it has changed"


REGIONS = ("", "left half")
HOSTILE = ("door", "'}} {{ 1/0 }}", "a/+/#\0\n", "ü" * 300)

# Validates as Home Assistant does with what comes from the broker, and has it render every template.
CHECK = """
import asyncio, json, sys, tempfile
import homeassistant.components.mqtt.binary_sensor as binary_sensor
import homeassistant.components.mqtt.event as event
import homeassistant.components.mqtt.sensor as sensor
from homeassistant.components.mqtt.discovery import TOPIC_MATCHER
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA, SHARED_OPTIONS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import frame

SCHEMAS = {"sensor": sensor, "binary_sensor": binary_sensor, "event": event}


async def check(given):
    frame.async_setup(HomeAssistant(tempfile.mkdtemp()))
    device = given["payload"]
    assert TOPIC_MATCHER.fullmatch(given["topic"]), given["topic"]
    DEVICE_DISCOVERY_SCHEMA(device)
    shown = {}
    for key, component in device["components"].items():
        assert TOPIC_MATCHER.fullmatch(f"device/x/{key}/config"), key
        whole = {**{option: device[option] for option in SHARED_OPTIONS if option in device}, **component}
        platform = whole.pop("platform")
        kept = SCHEMAS[platform].DISCOVERY_SCHEMA(dict(whole))
        # The schemas drop unknown keys; each of ours has to be one that they keep.
        assert set(kept) >= set(whole), (key, set(whole) - set(kept))
        for option in ("value_template", "json_attributes_template"):
            if option in kept:
                document = given[component["state_topic"]]
                shown[key, option] = kept[option].async_render_with_possible_json_value(document, "failed")
    return [[key, option, text] for (key, option), text in shown.items()]


print(json.dumps(asyncio.run(check(json.load(sys.stdin)))))
"""


def test_home_assistants_own_schema_takes_the_discovery() -> None:
    """With the Python of ``EDGEGRAFT_HOME_ASSISTANT``, in which ``homeassistant`` and ``paho-mqtt`` are installed."""
    python = os.environ.get("EDGEGRAFT_HOME_ASSISTANT") or sys.executable
    if python == sys.executable and importlib.util.find_spec("homeassistant") is None:
        pytest.skip("needs Home Assistant; pip install homeassistant paho-mqtt, EDGEGRAFT_HOME_ASSISTANT=that python")
    topics, board = Topics("home/glass house"), status(State.DEGRADED, HOSTILE)
    payload = discovery_payload(topics, board, [(name, region) for name in HOSTILE for region in REGIONS])
    state = json.dumps({"answer": None, "probability": 0.876})
    given = {
        "topic": f"device/{payload['device']['identifiers'][0]}/config",
        "payload": payload,
        topics.status: msgspec.json.encode(board).decode(),
        **{topics.of(name, region, "state"): state for name in HOSTILE for region in REGIONS},
    }
    done = subprocess.run(
        [python, "-c", CHECK], input=json.dumps(given), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = {(key, option): text for key, option, text in json.loads(done.stdout.splitlines()[-1])}
    assert "failed" not in shown.values()
    assert shown["problem", "value_template"] == "ON"
    assert json.loads(shown["problem", "json_attributes_template"]) == {"reasons": ['camera "door" {{ 1/0 }}']}
    assert shown["cpu_temperature", "value_template"] == "51.5"
    assert shown["door_answer", "value_template"] == "None", "which Home Assistant takes for unknown"
    assert shown["door_probability", "value_template"] == "87.6"
    assert {text for (key, _), text in shown.items() if key.endswith("_frame_rate")} == {"24.9"}
    assert len({each["unique_id"] for each in payload["components"].values()}) == len(payload["components"]) == 30


def test_names_reach_home_assistant_neither_in_templates_nor_with_control_characters() -> None:
    payload = discovery_payload(Topics("b"), status(cameras=HOSTILE), [(name, "") for name in HOSTILE])
    for component in payload["components"].values():
        assert "1/0" not in component.get("value_template", "")
        assert component["name"].isprintable()
        assert len(component["name"]) < 100
