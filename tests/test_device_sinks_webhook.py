"""The web hook with a real receiver: signed, sent again when that may help, and never held up for long."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from broker import free_port, make_certificates

from device.errors import SinkError
from device.prediction import PREDICTION_SCHEMA, Event, Prediction, StageTimes
from device.sinks.base import Result, Want
from device.sinks.webhook import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, open_webhook, sign, verify_signature

KEY = "0123456789abcdef0123456789abcdef"


def prediction(frame: int = 0, event: Event | None = Event.ENTERED) -> Prediction:
    times = StageTimes(1.0, 2.0, 3.0, 0.5)
    top = (("größe", 0.75), ("b", 0.25))
    return Prediction(PREDICTION_SCHEMA, "door", frame, 1.7e9, 12.5, "größe", 0.75, top, False, event, times, 0)


@dataclass(slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """A web server that answers as it was told to, then 200; ``requests`` are what it got."""

    server: http.server.ThreadingHTTPServer
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    delay_s: float = 0.0
    requests: list[Request] = field(default_factory=list)

    def url(self, rest: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.server.server_port}{rest}"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def start(*statuses: int, certificates: Path | None = None) -> Receiver:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.requests.append(Request(self.path, dict(self.headers.items()), body))
                time.sleep(got.delay_s)
                status, headers, answer = got.answers.pop(0) if got.answers else (200, {}, b"")
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        got = Receiver(server, [(status, {}, b"") for status in statuses])
        made.append(got)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return got

    yield start
    for each in made:
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "hook-key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


Start = Callable[..., Receiver]


def test_an_event_is_delivered_once_though_the_receiver_fails_twice(receiver: Start, key_file: Path) -> None:
    got = receiver(500, 503)
    sink = open_webhook(got.url(f"/hook/a?b=c&d#key=file:{key_file}"))
    sink.write(Result(prediction(7)))
    assert len(got.requests) == 3
    assert {request.path for request in got.requests} == {"/hook/a?b=c&d"}, "the receiver's query stays as it is"
    assert len({request.headers[ID_HEADER] for request in got.requests}) == 1
    assert len({request.body for request in got.requests}) == 1
    sink.write(Result(prediction(8)))
    assert got.requests[-1].headers[ID_HEADER] != got.requests[0].headers[ID_HEADER]
    sink.close()
    sent = json.loads(got.requests[0].body)
    assert (sent["schema"], sent["frame"], sent["answer"], sent["event"]) == (2, 7, "größe", "entered")
    for request in got.requests:
        assert request.headers["Content-Type"] == "application/json"
        arguments = (KEY.encode(), request.headers[TIMESTAMP_HEADER], request.body, request.headers[SIGNATURE_HEADER])
        assert verify_signature(*arguments, now=time.time())
        assert not verify_signature(b"another key", *arguments[1:], now=time.time())


def test_only_what_was_signed_verifies() -> None:
    key, now = KEY.encode(), 1_700_000_000.0
    stamp, body = "1700000000", b'{"a": 1}'
    signature = sign(key, stamp, body)
    assert verify_signature(key, stamp, body, signature, now)
    assert verify_signature(key, stamp, body, signature, now + 299)
    assert not verify_signature(key, stamp, body + b" ", signature, now), "another body"
    assert not verify_signature(key, "1700000001", body, signature, now), "another time"
    assert not verify_signature(key, stamp, body, signature, now + 301), "too old"
    assert not verify_signature(key, stamp, body, signature, now - 301), "from the future"
    for bad in ("", "v1=", "é", signature[:-1], signature.upper(), signature[3:]):
        assert not verify_signature(key, stamp, body, bad, now)
    for bad in ("", "-1", "1e9", "9" * 5000, "１７"):
        assert not verify_signature(key, bad, body, signature, now)


def test_events_only_unless_everything_is_asked_for(receiver: Start) -> None:
    url = receiver().url()
    assert open_webhook(url).wants(prediction(event=None)) is Want.NOTHING
    assert open_webhook(url).wants(prediction()) is Want.PREDICTION
    assert open_webhook(f"{url}#every=1").wants(prediction(event=None)) is Want.PREDICTION


def test_a_receiver_that_asks_for_time_is_given_it(receiver: Start) -> None:
    got = receiver()
    got.answers = [(429, {"Retry-After": "1"}, b""), (503, {"Retry-After": "no such date"}, b"")]
    began = time.monotonic()
    open_webhook(got.url()).write(Result(prediction()))
    assert time.monotonic() - began >= 1.0
    assert len(got.requests) == 3


@pytest.mark.parametrize(("status", "hint"), [(403, "check the address"), (404, "its log"), (302, "leads to")])
def test_what_another_attempt_would_not_change_is_not_tried_again(receiver: Start, status: int, hint: str) -> None:
    elsewhere, got = receiver(), receiver()
    got.answers = [(status, {"Location": elsewhere.url()}, b"")]
    with pytest.raises(SinkError, match=f"the receiver answers {status}; .*{hint}"):
        open_webhook(got.url("/secret-path?token=4711")).write(Result(prediction()))
    assert len(got.requests) == 1
    assert not elsewhere.requests, "no redirect is followed"


def test_a_receiver_that_fails_for_good_is_given_up(receiver: Start) -> None:
    got = receiver(*[500] * 20)
    with pytest.raises(SinkError, match="the receiver answers 500; tried 5 times") as caught:
        open_webhook(got.url("/secret-path?token=4711")).write(Result(prediction()))
    assert len(got.requests) == 5
    for part in ("secret-path", "4711"):
        assert part not in str(caught.value)


def test_a_slow_and_a_dead_receiver_end_in_an_error_without_the_path(receiver: Start) -> None:
    slow = receiver()
    slow.delay_s = 2.0

    def failure(url: str) -> str:
        with pytest.raises(SinkError) as caught:
            open_webhook(url).write(Result(prediction()))
        return str(caught.value)

    dead = f"http://127.0.0.1:{free_port()}"
    with ThreadPoolExecutor() as pool:
        messages = list(pool.map(failure, (slow.url("/secret-path#timeout=0.2"), f"{dead}/secret-path")))
    assert messages == [
        f"{slow.url('')}: the receiver does not answer in time; tried 5 times",
        f"{dead}: the receiver is not reached; tried 5 times",
    ]


def test_an_answer_without_end_is_not_read() -> None:
    sent = threading.Event()

    def pour(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while True:
                    connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
            except OSError:
                sent.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=pour, args=(server,), daemon=True).start()
        open_webhook(f"http://127.0.0.1:{server.getsockname()[1]}/").write(Result(prediction()))
        assert sent.wait(10), "the connection was closed on it"


def test_tls_is_checked_against_the_ca_that_was_named(receiver: Start, tmp_path: Path) -> None:
    make_certificates(tmp_path / "own")
    make_certificates(tmp_path / "other")
    got = receiver(certificates=tmp_path / "own")
    open_webhook(got.url(f"/#ca={tmp_path}/own/ca.pem", "https")).write(Result(prediction()))
    assert len(got.requests) == 1
    for rest in ("/", f"/#ca={tmp_path}/other/ca.pem"):
        with pytest.raises(SinkError, match=r"certificate is not trusted .*#ca=FILE"):
            open_webhook(got.url(rest, "https")).write(Result(prediction()))
    assert len(got.requests) == 1


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://user:hunter2@host/a", "https://host: the address holds a password"),
        ("https://hunter2@host/a", "a user in the address is not supported"),
        ("http://example.com/hunter2", "could be read and changed on its way; expected https://"),
        ("http://93.184.216.34/", "expected https://"),
        ("https://host/a#key=hunter2", "is expected as file:PATH or credential:NAME"),
        ("https://host/a#hunter2=1", "unknown option; known are: every, key, ca, timeout"),
        ("https://host/a#timeout=hunter2", "the value of 'timeout' is not a number from 0.1 to 60"),
        ("https:///a", "has no host"),
        ("https://host:hunter2/a", "the address is not valid"),
    ],
)
def test_an_address_that_will_not_do_is_refused_without_a_secret(uri: str, message: str) -> None:
    with pytest.raises(SinkError, match=message) as caught:
        open_webhook(uri)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "board.local", "nas", "192.168.1.4", "10.0.0.1", "[::1]", "[fd00::1]"])
def test_http_is_taken_where_it_stays_near(host: str) -> None:
    open_webhook(f"http://{host}:8123/api/webhook/x").close()


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    with pytest.raises(SinkError, match="openssl rand -hex 32") as caught:
        open_webhook(f"https://host/#key=file:{tmp_path}/key")
    assert "short\n" not in str(caught.value)
