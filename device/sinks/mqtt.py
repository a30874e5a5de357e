"""Answers, events and the state of the whole on an MQTT broker, found by Home Assistant on its own."""

from __future__ import annotations

import ssl
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from device.console import say
from device.errors import SinkError
from device.prediction import Prediction
from device.sinks.base import Result, Want
from device.sinks.homeassistant import Place, discovery_payload, discovery_topic
from device.sinks.network import Host, existing_file, read_options, secret_option, split_uri, take_secret, text_option
from device.sinks.options import flag
from device.sinks.topics import Topics
from device.status import Status

try:
    from device.sinks.broker import Broker, BrokerLink
except ModuleNotFoundError as missing:
    raise SinkError("mqtt: needs paho-mqtt, which is not installed; pip install 'edgegraft[board]'") from missing

STATE_SCHEMA = 1
# How often a state is told where nothing happens.
_STATE_EVERY_S = 5.0
_MOST_EVENTS = 256
_FIRST_WAIT_S = 1.0
_LAST_WAIT_S = 0.5
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_OPTIONS = {
    "password": secret_option(),
    "ca": text_option("a file of CA certificates (PEM)"),
    "cert": text_option("a file with this client's certificate (PEM)"),
    "key": text_option("a file with this client's key (PEM)"),
    "discovery": text_option("a topic, or 0"),
    "every": flag(),
}
_FORBIDDEN = "+#\0"


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """How an ``MqttSink`` behaves.

    Attributes:
        topics: where it publishes.
        discovery: Home Assistant's discovery prefix; None tells Home Assistant nothing.
        every: publish each prediction, not only states and events.
    """

    topics: Topics
    discovery: str | None = "homeassistant"
    every: bool = False


class MqttSink:
    """Implements ``Sink``. Without a connection the newest states and up to 256 events are kept for later.

    Args:
        broker: where to connect; it need not be there yet.
        config: see there.
    """

    def __init__(self, broker: Broker, config: MqttConfig) -> None:
        self._name = broker.host.name
        self._config = config
        self._link = BrokerLink(broker, config.topics.availability)
        self._encoder = msgspec.json.Encoder()
        self._asked: dict[Place, float] = {}
        self._settled: dict[Place, tuple[str | None, float]] = {}
        self._told: dict[Place, float] = {}
        self._retained: dict[str, bytes] = {}
        self._unsent: dict[str, None] = {}
        self._events: deque[tuple[str, bytes]] = deque()
        self._status: Status | None = None
        self._waited = False

    def wants(self, prediction: Prediction) -> Want:
        """See ``Sink.wants``: events, and a state every five seconds; all predictions where that was asked for."""
        if self._config.every or prediction.event is not None:
            return Want.PREDICTION
        place, now = (prediction.camera, prediction.region), time.monotonic()
        if now - self._asked.get(place, now - _STATE_EVERY_S) < _STATE_EVERY_S:
            return Want.NOTHING
        self._asked[place] = now
        return Want.PREDICTION

    def write(self, result: Result) -> None:
        """See ``Sink.write``: state and event, and the prediction where that was asked for."""
        if not self._waited:
            self._waited = True
            self._link.wait_connected(_FIRST_WAIT_S)
        prediction = result.prediction
        lost = self._note(prediction)
        self._catch_up()
        if self._config.every:
            topic = self._config.topics.of(prediction.camera, prediction.region, "prediction")
            lost += not self._link.publish(topic, self._encoder.encode(prediction))
        self._complain(lost)

    def report(self, status: Status) -> None:
        """See ``Sink.report``: the status, retained, and Home Assistant's discovery where it has changed."""
        self._status = status
        self._retain(self._config.topics.status, self._encoder.encode(status))
        self._announce()
        self._catch_up()
        self._complain(0)

    def close(self) -> None:
        """See ``Sink.close``."""
        if self._events or self._unsent:
            self._link.wait_connected(_LAST_WAIT_S)
            self._catch_up()
        if self._events:
            reason = self._link.trouble(0.0) or "no time was left"
            say(f"{self._name}: {len(self._events)} events could not be delivered: {reason}")
        self._link.close()

    def _note(self, prediction: Prediction) -> int:
        """Keep what is to be sent of a prediction; how many events had to make room."""
        topics, place = self._config.topics, (prediction.camera, prediction.region)
        new = place not in self._settled
        if new or self._settled[place][0] != prediction.settled:
            self._settled[place] = (prediction.settled, prediction.captured_at)
        now = time.monotonic()
        if prediction.event is not None or now - self._told.get(place, now - _STATE_EVERY_S) >= _STATE_EVERY_S:
            self._told[place] = now
            self._retain(topics.of(*place, "state"), self._encoder.encode(self._state(prediction)))
        if new:
            self._announce()
        if prediction.event is None:
            return 0
        self._events.append((topics.of(*place, "event"), self._encoder.encode(_event(prediction))))
        return self._make_room()

    def _make_room(self) -> int:
        before = len(self._events)
        while len(self._events) > _MOST_EVENTS:
            self._events.popleft()
        return before - len(self._events)

    def _state(self, prediction: Prediction) -> dict[str, Any]:
        settled, since = self._settled[prediction.camera, prediction.region]
        known = dict(prediction.top)
        return {
            "schema": STATE_SCHEMA,
            "camera": prediction.camera,
            "region": prediction.region,
            "answer": settled,
            "probability": prediction.probability if settled is None else known.get(settled, 0.0),
            "since": since,
            "captured_at": prediction.captured_at,
        }

    def _announce(self) -> None:
        if self._config.discovery is None or self._status is None:
            return
        payload = discovery_payload(self._config.topics, self._status, sorted(self._settled))
        self._retain(discovery_topic(self._config.discovery, self._config.topics), self._encoder.encode(payload))

    def _retain(self, topic: str, payload: bytes) -> None:
        if self._retained.get(topic) != payload:
            self._retained[topic] = payload
            self._unsent[topic] = None

    def _catch_up(self) -> None:
        """Send what has not been sent; after a new connection, all that is retained again."""
        if self._link.take_fresh():
            self._unsent = dict.fromkeys(self._retained)
        # Discovery first: Home Assistant then knows the entity before its first state comes.
        for topic in sorted(self._unsent, key=lambda topic: not topic.endswith("/config")):
            if not self._link.publish(topic, self._retained[topic], retain=True):
                return
            del self._unsent[topic]
        while self._events and self._link.publish(*self._events[0]):
            self._events.popleft()

    def _complain(self, lost: int) -> None:
        trouble = self._link.trouble(0.0) if lost else self._link.trouble()
        if lost and not trouble:
            trouble = f"{self._name}: the broker takes messages too slowly; what cannot wait is dropped"
        if trouble:
            raise SinkError(trouble)


def open_mqtt(uri: str) -> MqttSink:
    """``mqtt://[USER@]HOST[:PORT]/TOPIC/PREFIX`` or, with TLS, ``mqtts://``. It need not be reachable yet.

    Options: ``password=file:PATH`` or ``credential:NAME``; ``ca=``, ``cert=``, ``key=`` name PEM files;
    ``discovery=PREFIX`` of Home Assistant ("homeassistant"), ``0`` for none; ``every=1`` publishes each prediction.

    Raises:
        SinkError: not understood, a password in the URI, or a file that cannot be read.
    """
    return MqttSink(*read_mqtt(uri))


def read_mqtt(uri: str) -> tuple[Broker, MqttConfig]:
    """What such a URI says.

    Raises:
        SinkError: see ``open_mqtt``.
    """
    host, parts = split_uri(uri, _PORTS)
    options = read_options(host.name, parts.query, _OPTIONS)
    if parts.fragment:
        raise SinkError(f"{host.name}: '#' cannot be part of a topic; options stand behind '?'")
    prefix = _topic(unquote(parts.path.strip("/")), host, "topic")
    user = unquote(parts.username or "")
    password = None
    if "password" in options:
        if not user:
            raise SinkError(f"{host.name}: a password needs a user; expected {host.scheme}://USER@HOST/TOPIC")
        password = take_secret(options["password"], host.name, "the broker's password")
    discovery = options.get("discovery", "homeassistant")
    discovery = None if discovery == "0" else _topic(discovery, host, "discovery prefix")
    config = MqttConfig(Topics(prefix), discovery, options.get("every", False))
    return Broker(host, user, password, _tls(host, options)), config


def _event(prediction: Prediction) -> dict[str, Any]:
    # Home Assistant asks for "event_type".
    assert prediction.event is not None
    return {
        "schema": STATE_SCHEMA,
        "event_type": prediction.event.value,
        "camera": prediction.camera,
        "region": prediction.region,
        "answer": prediction.settled,
        "previous": prediction.previous,
        "probability": prediction.probability,
        "frame": prediction.frame,
        "captured_at": prediction.captured_at,
    }


def _topic(text: str, host: Host, what: str) -> str:
    if not text or text.startswith("$") or any(char in _FORBIDDEN for char in text) or "" in text.split("/"):
        raise SinkError(
            f"{host.name}: {text!r} is no {what} to publish under; expected e.g. edgegraft/greenhouse, without + # $"
        )
    return text


def _tls(host: Host, options: dict[str, Any]) -> ssl.SSLContext | None:
    given = [key for key in ("ca", "cert", "key") if key in options]
    files: dict[str, Path] = {key: existing_file(options[key], host.name, key) for key in given}
    if host.scheme == "mqtt":
        if files:
            raise SinkError(f"{host.name}: certificates are for mqtts://; mqtt:// is not encrypted")
        return None
    if ("cert" in files) != ("key" in files):
        raise SinkError(f"{host.name}: 'cert' and 'key' belong together; give both")
    return _context(host, files)


def _context(host: Host, files: dict[str, Path]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if "cert" in files:
            context.load_cert_chain(files["cert"], files["key"], password=lambda: b"")
    except (ssl.SSLError, OSError) as err:
        reason = err.strerror or type(err).__name__
        raise SinkError(f"{host.name}: the certificates cannot be used ({reason}); expected PEM files") from err
    return context
