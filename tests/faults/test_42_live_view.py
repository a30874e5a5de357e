"""Row 42: a live view that strangers reach: no token, another site's page, a rebound name, odd paths, slow and many."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from live_world import LiveWorld
from test_device_web_api import LOOPBACK, Client, wait_for

from device.collection import Collection
from device.web.address import WebConfig
from device.web.app import WebServer
from device.web.limits import MOST_CONNECTIONS

TOKEN = "correct-horse-battery"
PATHS = ["/api/status", "/api/view", "/api/predictions", "/api/history", "/api/picture.jpg", "/metrics", "/docs", "/x"]
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def guarded(tmp_path: Path, said: list[str]) -> Iterator[WebServer]:
    """A live view with a token, over a world that runs."""
    world = LiveWorld()
    world.observe(0)
    collection = Collection(tmp_path / "photos")
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK, TOKEN), collection, tell=said.append) as server:
        server.start()
        yield server
        # It still answers, and nothing that came was a surprise to it.
        assert Client(server.port).get("/healthz").status == 200
        assert said == []
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.fixture
def open_view(tmp_path: Path) -> Iterator[WebServer]:
    """One on loopback, without a token."""
    world = LiveWorld()
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK), Collection(tmp_path / "photos")) as server:
        server.start()
        assert wait_for(lambda: world.observed > 2)
        yield server


def raw(port: int, request: bytes, timeout_s: float = 10.0) -> bytes:
    """What comes back for these bytes until the server closes, or the time is over."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while chunk := connection.recv(65536):
                answer += chunk
        except OSError:
            pass
        return answer


def test_without_the_token_there_is_nothing_but_the_log_in_and_two_words(guarded: WebServer) -> None:
    client = Client(guarded.port)
    for path in PATHS:
        answer = client.get(path)
        assert (answer.status, "token is needed" in answer.json()["error"]) == (401, True), path
    assert client.post("/api/save", {"label": "rose"}).status == 401
    assert client.get("/healthz").data == b"alive\n"
    assert client.get("/readyz").data == b"ready\n"
    page = client.get("/").data.decode()
    assert all(word not in page for word in ("bench", "garden", "rose", TOKEN))
    # In the address it would be kept by logs and histories.
    assert client.get(f"/api/status?token={TOKEN}").status == 401
    assert client.get("/api/status", **BEARER).status == 200


def test_wrong_tokens_are_counted_and_then_not_looked_at(guarded: WebServer) -> None:
    client = Client(guarded.port)
    session = client.post("/login", {"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    answers = [client.get("/api/status", authorization=f"Bearer {TOKEN[:-1]}{number}").status for number in range(5)]
    answers += [client.post("/login", {"token": f"{number:032}"}).status for number in range(5)]
    assert set(answers) == {401}
    blocked = client.post("/login", {"token": TOKEN})
    assert (blocked.status, blocked.headers["retry-after"]) == (429, "60")
    assert client.get("/api/status", **BEARER).status == 429
    # Who is in stays in.
    assert client.get("/api/status", cookie=session).status == 200


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"token": 5}', b"[" * 8000, b'"\xff"'])
def test_a_log_in_that_is_none(guarded: WebServer, content: bytes) -> None:
    head = (
        f"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    assert raw(guarded.port, f"{head}\r\nConnection: close\r\n\r\n".encode() + content).startswith(b"HTTP/1.1 400")


def test_a_page_of_another_site_gets_nothing(open_view: WebServer, tmp_path: Path) -> None:
    client, own = Client(open_view.port), f"http://127.0.0.1:{open_view.port}"
    for origin in (
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        f"http://127.0.0.1.evil.example:{open_view.port}",
    ):
        assert client.post("/api/save", {"label": "rose"}, origin=origin).status == 403
        assert client.get("/api/predictions", origin=origin).status == 403
    for site in ("cross-site", "same-site"):
        assert client.get("/api/picture.jpg", **{"sec-fetch-site": site}).status == 403
    # A form needs no leave to be sent elsewhere, but cannot be JSON.
    assert client.post("/api/save", {"label": "rose"}, **{"content-type": "text/plain"}).status == 415
    assert not list(tmp_path.rglob("*.jpg"))
    answer = client.post("/api/save", {"label": "rose"}, origin=own)
    assert (answer.status, len(list(tmp_path.rglob("*.jpg")))) == (200, 1)
    assert not any(name.lower().startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "192.168.1.5", "", "a@localhost", "[::1", "x" * 900]
)
def test_a_name_that_was_made_to_point_here_gets_nothing(open_view: WebServer, host: str) -> None:
    for path in ("/", "/api/status", "/healthz"):
        assert Client(open_view.port).get(path, host=host).status == 421
    assert Client(open_view.port).get("/api/status", host="localhost:1234").status == 200
    two = raw(open_view.port, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 2)
    assert two.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421"))


def test_every_answer_forbids_framing_guessing_and_foreign_scripts(open_view: WebServer) -> None:
    client = Client(open_view.port)
    for path in ("/", "/api/status", "/api/picture.jpg", "/nothing", "/metrics"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


@pytest.mark.parametrize(
    "target",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/api/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/%252e%252e/etc/passwd",
        "//etc/passwd",
        "/live.html",
        "/style.html",
        "/api/picture.jpg?camera=../../etc/passwd",
        "/api/history?camera=%00",
        "/\xff\xfe",
        "/%ff%00",
    ],
)
def test_no_path_leads_to_a_file(open_view: WebServer, target: str) -> None:
    answer = raw(
        open_view.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1")
    )
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer[:200]
    assert b"root:" not in answer


def test_giant_and_odd_requests_are_refused(guarded: WebServer) -> None:
    host = b"Host: localhost\r\n"
    json = b"Content-Type: application/json\r\n"
    assert raw(guarded.port, b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 2**20).startswith(b"HTTP/1.1 400")
    assert raw(guarded.port, b"GET /" + b"a" * 2**20).startswith(b"HTTP/1.1 400")
    many = b"".join(b"X-%d: y\r\n" % number for number in range(5000))
    assert raw(guarded.port, b"GET / HTTP/1.1\r\n" + host + many).startswith(b"HTTP/1.1 400")
    large = b"POST /login HTTP/1.1\r\n" + host + json + b"Content-Length: 99999999999\r\n\r\n"
    assert raw(guarded.port, large + b"x" * 2**16).startswith(b"HTTP/1.1 413")
    chunked = b"POST /login HTTP/1.1\r\n" + host + json + b"Transfer-Encoding: chunked\r\n\r\n"
    assert raw(guarded.port, chunked + b"ffff\r\n").startswith(b"HTTP/1.1 411")
    upgrade = b"GET /api/status HTTP/1.1\r\n" + host + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert raw(guarded.port, upgrade, 2).startswith(b"HTTP/1.1 401")
    assert raw(guarded.port, b"\x16\x03\x01\x02\x00\x01\x00" * 40, 2).startswith(b"HTTP/1.1 400")
    assert raw(guarded.port, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421")


def test_a_reader_that_takes_nothing_costs_nothing(open_view: WebServer) -> None:
    with ExitStack() as stack:
        for number in range(20):
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stack.enter_context(slow).connect(("127.0.0.1", open_view.port))
            path = "/api/predictions" if number % 2 else "/api/picture.jpg"
            slow.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * (1 if number % 2 else 50))
        before = _resident_bytes()
        client, known = Client(open_view.port), "0"
        for _ in range(25):
            begin = time.monotonic()
            answer = client.get(f"/api/picture.jpg?not={known}")
            known = answer.headers["edgegraft-picture"]
            assert time.monotonic() - begin < 5
        assert _resident_bytes() - before < 30e6


def test_a_thousand_connections_do_no_harm(open_view: WebServer) -> None:
    # A third says nothing, a third never ends its request, a third wants a stream.
    requests = (b"", b"GET / HTTP/1.1\r\nX: ", b"GET /api/predictions HTTP/1.1\r\nHost: localhost\r\n\r\n")
    files_before = _descriptors()
    with ExitStack() as stack:
        for number in range(1000):
            try:
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", open_view.port), timeout=5))
                connection.sendall(requests[number % 3])
            except OSError:
                continue
        # Of this process are both ends; the server keeps no more than its limit.
        most = files_before + 1000 + MOST_CONNECTIONS + 8
        assert wait_for(lambda: _descriptors() <= most)
        # Those that say nothing are cut off in time, with the others still there.
        assert wait_for(lambda: _answers(open_view.port), 25)
    assert wait_for(lambda: Client(open_view.port).get("/readyz").status == 200)
    assert wait_for(lambda: _descriptors() <= files_before + 8)
    assert wait_for(lambda: threading.active_count() < 20)


def _answers(port: int) -> bool:
    return raw(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 3).startswith(
        b"HTTP/1.1 200"
    )


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
