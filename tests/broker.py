"""A real mosquitto on loopback, in the clear, with TLS or with passwords, and a client that listens to it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_START_LIMIT_S = 60.0
PATIENCE_S = 20.0


@dataclass(slots=True)
class MqttBroker:
    """One that can be stopped and started again on the same port; nothing is kept over a stop.

    Attributes:
        folder: with its configuration and, for TLS, ``ca.pem``.
        port: where it listens.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert self.process is None
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [_program(), "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _START_LIMIT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.stop()
        raise AssertionError(f"mosquitto does not listen: {(self.folder / 'mosquitto.log').read_text()}")

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def make_broker(folder: Path, tls: bool = False, login: tuple[str, str] | None = None) -> MqttBroker:
    """One that is not started yet.

    Args:
        folder: for its files; it need not exist.
        tls: with a certificate for "localhost" and 127.0.0.1 by a CA of its own, ``ca.pem``.
        login: the only user and password it knows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    # Started by root, it would become a user who may not read the test's folder.
    lines = ["user root", f"listener {port} 127.0.0.1", "persistence false", "log_type error", "log_type warning"]
    if login is None:
        lines.append("allow_anonymous true")
    else:
        passwords = folder / "passwords"
        passwords.write_text(f"{login[0]}:{login[1]}\n")
        subprocess.run([_program("mosquitto_passwd"), "-U", passwords], check=True, capture_output=True)
        lines += ["allow_anonymous false", f"password_file {passwords}"]
    if tls:
        make_certificates(folder)
        lines += [f"certfile {folder}/server.pem", f"keyfile {folder}/server.key", f"cafile {folder}/ca.pem"]
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    return MqttBroker(folder, port)


def make_certificates(folder: Path) -> None:
    """``ca.pem`` of a new CA, and ``server.pem``, ``server.key`` for localhost signed by it."""
    folder.mkdir(parents=True, exist_ok=True)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(folder, "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA")
    _openssl(folder, "req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    _openssl(folder, *sign, "-out", "server.pem", "-days", "30", "-extfile", "names")


class Listener:
    """A client that is subscribed to everything; ``messages`` are (topic, payload, retained)."""

    def __init__(self, port: int, login: tuple[str, str] | None = None, ca: Path | None = None) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self.messages: list[tuple[str, bytes, bool]] = []
        self._changed = threading.Condition(threading.RLock())
        subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        if login is not None:
            self._client.username_pw_set(*login)
        if ca is not None:
            self._client.tls_set_context(ssl.create_default_context(cafile=ca))
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._note
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE_S), "the broker did not take the subscription"

    def of(self, topic: str) -> list[bytes]:
        """Payloads of a topic, in the order in which they came."""
        with self._changed:
            return [payload for name, payload, _ in self.messages if name == topic]

    def wait(self, topic: str, holds: Callable[[list[bytes]], bool] = bool) -> list[bytes]:
        """Payloads of a topic, once they are as they should be."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.of(topic)), PATIENCE_S), (topic, self.messages)
            return self.of(topic)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _note(self, _client: Any, _data: Any, message: Any) -> None:
        with self._changed:
            self.messages.append((message.topic, message.payload, message.retain))
            self._changed.notify_all()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program(name: str = "mosquitto") -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin")
    if found is None:
        pytest.skip(f"needs {name}; apt-get install mosquitto")
    return found


def _openssl(folder: Path, *arguments: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl; apt-get install openssl")
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
