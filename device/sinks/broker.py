"""The connection to an MQTT broker: found again after every loss, after pauses that grow."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from device.secret import Secret
from device.sinks.network import Host

# A board that loses its power is offline for everybody after one and a half times this.
_KEEPALIVE_S = 20
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_MOST_WAITING = 256
# A broker that takes nothing any more holds up a message so long.
_ROOM_S = 1.0
# Connecting takes a moment: only after this is being without a connection a fault.
GRACE_S = 3.0
_CLOSE_S = 1.4
_ONLINE, _OFFLINE = b"online", b"offline"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect and as whom.

    Attributes:
        host: the broker.
        user: empty for none.
        password: of the user.
        tls: None for a connection in the clear.
    """

    host: Host
    user: str = ""
    password: Secret | None = None
    tls: ssl.SSLContext | None = None


class BrokerLink:
    """MQTT 5 by paho-mqtt, in a thread of its own. ``availability`` says ``online`` after every connection and, by the
    last will, ``offline`` after every loss.

    Args:
        broker: see there.
        availability: topic.
        announce: False for a guest that says what it has to say and leaves: then nothing stands under that topic.
    """

    def __init__(self, broker: Broker, availability: str, announce: bool = True) -> None:
        self._name = broker.host.name
        self._availability = availability
        self._announce = announce
        self._down_since: float | None = time.monotonic()
        self._reason = "it does not answer"
        self._attempts = 0
        self._fresh = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=_client_id(availability), protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.max_queued_messages_set(_MOST_WAITING)
        if announce:
            self._client.will_set(availability, _OFFLINE, qos=1, retain=True)
        if broker.user:
            self._client.username_pw_set(broker.user, broker.password.value if broker.password else None)
        if broker.tls:
            self._client.tls_set_context(broker.tls)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.connect_async(broker.host.host, broker.host.port, _KEEPALIVE_S)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this client and nothing has gone wrong since."""
        return self._down_since is None

    def take_fresh(self) -> bool:
        """Whether the broker was connected since this was last asked: it may have forgotten what was retained."""
        fresh = self._fresh.is_set()
        self._fresh.clear()
        return fresh

    def wait_connected(self, timeout_s: float) -> None:
        """Give a connection that is being made a moment."""
        if not self.connected:
            self._fresh.wait(timeout_s)

    def trouble(self, grace_s: float = GRACE_S) -> str:
        """Why there is no connection, and what to do; empty while there is one or it is only being made."""
        since = self._down_since
        if since is None or time.monotonic() - since < grace_s:
            return ""
        return f"{self._name}: {self._reason}; it is tried again and again"

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> bool:
        """Send at least once (QoS 1).

        Returns:
            whether it is on its way; False without a connection, or when the broker has taken nothing for a second.
        """
        deadline = time.monotonic() + _ROOM_S
        while self.connected:
            if self._client.publish(topic, payload, 1, retain).rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return False

    def deliver(self, topic: str, payload: bytes, timeout_s: float) -> bool:
        """Send a retained message, and wait until the broker has it."""
        self.wait_connected(timeout_s / 2)
        if not self.connected:
            return False
        message = self._client.publish(topic, payload, 1, retain=True)
        with suppress(RuntimeError, ValueError):
            message.wait_for_publish(timeout_s / 2)
            return message.is_published()
        return False

    def close(self) -> None:
        """Say ``offline`` and leave, within two seconds; twice is allowed."""
        deadline = time.monotonic() + _CLOSE_S
        if self.connected and self._announce:
            self._await(self._client.publish(self._availability, _OFFLINE, 1, retain=True))
        self._client.disconnect()
        # Joins paho's thread, which may be waiting for a name server.
        stopping = threading.Thread(target=self._client.loop_stop, daemon=True)
        stopping.start()
        stopping.join(max(0.0, deadline - time.monotonic()))

    def _await(self, message: MQTTMessageInfo) -> None:
        with suppress(RuntimeError, ValueError):  # not sent: the last will says it
            message.wait_for_publish(_CLOSE_S / 2)

    def _on_connect(self, client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._reason = f"the broker refuses the connection ({code}); check user and password"
            return
        self._attempts = 0
        # Not QoS 1: behind a full queue it would be refused.
        if self._announce:
            client.publish(self._availability, _ONLINE, 0, retain=True)
        self._down_since = None
        self._fresh.set()

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        # paho calls this while it handles the error, and does not hand it on.
        self._reason = _told(sys.exc_info()[1])
        self._pause()

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if self._down_since is None:
            self._reason = f"the connection was lost ({code})"
            self._down_since = time.monotonic()
        self._pause()

    def _pause(self) -> None:
        """Set how long paho waits now. Its own doubling has no jitter: after a power cut all boards come at once."""
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._attempts, 16))
        self._attempts += 1
        pause = longest * random.uniform(0.5, 1.0)
        self._client.reconnect_delay_set(pause, pause)


def _told(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not trusted ({error.verify_message}); name its CA with ?ca=FILE"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason}); check that this port of the broker speaks TLS, and ?cert= and ?key="
    if isinstance(error, socket.gaierror):
        return f"the broker's name is not found ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "the broker does not answer in time"
    return f"the broker is not reached ({getattr(error, 'strerror', None) or type(error).__name__})"


def _client_id(availability: str) -> str:
    # The same at the next start: the broker then ends a session that it has not yet seen die, and its last will comes
    # before the new "online", not after it.
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        machine = ""
    text = "\n".join((machine, socket.gethostname(), availability))
    return f"edgegraft-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
