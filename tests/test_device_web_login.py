"""The live view's token: read, made, kept, asked for; and the sessions that browsers get for it."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest
from live_world import LiveWorld
from test_device_web_api import LOOPBACK, Client

from device.errors import DeviceError
from device.web.address import WebConfig
from device.web.app import WebServer
from device.web.auth import Authority
from device.web.opening import open_web

TOKEN = "correct-horse-battery"


def silent(line: str) -> None:
    raise AssertionError(line)


def test_a_token_is_made_once_and_kept_for_this_user_only(tmp_path: Path) -> None:
    first = open_web("0.0.0.0:8080", None, tmp_path / "state", silent)
    kept = tmp_path / "state" / "web-token"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    token = kept.read_text().strip()
    assert first.config.token == token
    assert len(token) >= 32
    assert f"http://pi:8080/#token={token} " in first.greeting("http://pi:8080/", terminal=True)
    assert token not in first.greeting("http://pi:8080/", terminal=False)
    assert token not in repr(first)
    second = open_web("[::]:8080", None, tmp_path / "state", silent)
    assert second.config.token == token
    assert token not in second.greeting("http://pi:8080/", terminal=True)
    assert str(kept) in second.greeting("http://pi:8080/", terminal=True)
    assert [path.name for path in kept.parent.iterdir()] == ["web-token"]


def test_loopback_needs_no_token_but_takes_one(tmp_path: Path) -> None:
    assert open_web(":8080", None, tmp_path / "state", silent).config.token is None
    assert not (tmp_path / "state").exists()
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    assert open_web(":8080", f"file:{path}", tmp_path, silent).config.token == TOKEN


def test_the_name_of_a_proxy_before_it_is_taken(tmp_path: Path) -> None:
    config = open_web("127.0.0.1:0", None, tmp_path, silent, ("cam.example",)).config
    with WebServer(LiveWorld().monitor, config) as server:
        server.start()
        client = Client(server.port)
        assert client.get("/api/status", host="cam.example", origin="https://cam.example").status == 200
        assert client.get("/api/status", host="other.example").status == 421


def test_a_credential_of_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "live").write_text(TOKEN)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert open_web("0.0.0.0:80", "credential:live", tmp_path / "state", silent).config.token == TOKEN


def test_a_short_token_or_the_token_itself_is_refused_without_being_repeated(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("hunter2\n")
    for source in (f"file:{path}", "hunter2-hunter2-hunter2"):
        with pytest.raises(DeviceError) as caught:
            open_web("0.0.0.0:80", source, tmp_path / "state", silent)
        assert "hunter2" not in str(caught.value)


def test_a_browser_logs_in_and_stays_so_after_a_restart() -> None:
    world = LiveWorld()
    with WebServer(world.monitor, WebConfig(LOOPBACK, TOKEN)) as server:
        server.start()
        client = Client(server.port)
        assert b"This board asks for its token" in client.get("/").data
        answer = client.post("/login", {"token": TOKEN})
        assert answer.status == 204
        cookie = answer.headers["set-cookie"]
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        session = cookie.partition(";")[0].partition("=")[2]
        assert b"Last two minutes" in client.get("/", cookie=cookie.partition(";")[0]).data
    with WebServer(world.monitor, WebConfig(LOOPBACK, TOKEN)) as server:
        server.start()
        client = Client(server.port)
        assert client.get("/api/status", cookie=f"edgegraft_{server.port}={session}").status == 200
    with WebServer(world.monitor, WebConfig(LOOPBACK, TOKEN + "-new")) as server:
        server.start()
        client = Client(server.port)
        assert client.get("/api/status", cookie=f"edgegraft_{server.port}={session}").status == 401


def test_sessions_cannot_be_forged_or_prolonged() -> None:
    authority = Authority(TOKEN)
    session, seconds = authority.issue()
    assert authority.accepts(session)
    until, nonce, signature = session.split(".")
    assert int(until) == pytest.approx(time.time() + seconds, abs=5)
    forged = [
        "",
        ".",
        "..",
        f"{int(until) + 1}.{nonce}.{signature}",
        f"{until}.{nonce}.{signature[:-1]}",
        f"{until}.{nonce}.",
        f"{until}.{nonce}.{signature}\xe9",
        Authority(TOKEN + "x").issue()[0],
    ]
    assert not any(authority.accepts(each) for each in forged)
