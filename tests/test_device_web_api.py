"""The live view's API over real connections: status, events, pictures, history, metrics, probes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import urllib3
from live_world import LiveWorld

from device.cameras.spec import Region
from device.collection import Collection
from device.errors import DeviceError
from device.status import State, Status
from device.web.address import WebAddress, WebConfig, parse_address
from device.web.app import WebServer

LOOPBACK = WebAddress("127.0.0.1", 0)


class Client:
    """Requests to one server."""

    def __init__(self, port: int, **headers: str) -> None:
        self._pool = urllib3.HTTPConnectionPool("127.0.0.1", port, timeout=15, retries=False, maxsize=4)
        self._headers = headers

    def get(self, path: str, **headers: str) -> Any:
        return self._pool.request("GET", path, headers={**self._headers, **headers})

    def post(self, path: str, content: Any, **headers: str) -> Any:
        return self._pool.request("POST", path, json=content, headers={**self._headers, **headers})

    def events(self, path: str, most: int) -> list[dict[str, Any]]:
        """The first server-sent events."""
        answer = self._pool.request("GET", path, headers=self._headers, preload_content=False)
        assert answer.headers["content-type"].startswith("text/event-stream")
        text, found = "", []
        for chunk in answer.stream(512):
            text += chunk.decode()
            *whole, text = text.split("\n\n")
            found += [json.loads(event[6:]) for event in whole if event.startswith("data: ")]
            if len(found) >= most:
                break
        answer.close()
        return found[:most]


Serve = Callable[..., tuple[Client, WebServer]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a live view of a running world, or of one that stands still."""
    with ExitStack() as stack:

        def start(world: LiveWorld, running: bool = True, token: str | None = None, **more: Any) -> Any:
            if running:
                stack.enter_context(world.running())
            server = stack.enter_context(WebServer(world.monitor, WebConfig(LOOPBACK, token), **more))
            server.start()
            return Client(server.port), server

        yield start


def wait_for(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def test_the_status_is_the_monitors(serve: Serve) -> None:
    import msgspec

    world = LiveWorld(state=State.DEGRADED, reasons=("camera bench: no frame for 12 s",))
    client, _ = serve(world)
    answer = client.get("/api/status")
    assert answer.status == 200
    status = msgspec.json.decode(answer.data, type=Status)
    assert status.reasons == world.reasons
    assert status.model == world.status().model


def test_predictions_come_as_events_and_only_of_the_camera_asked_for(serve: Serve) -> None:
    client, _ = serve(LiveWorld(cameras=("left", "right")))
    both = client.events("/api/predictions", 8)
    assert {each["camera"] for each in both} == {"left", "right"}
    one = client.events("/api/predictions?camera=right", 6)
    assert {each["camera"] for each in one} == {"right"}
    assert [each["frame"] for each in one] == sorted({each["frame"] for each in one})
    assert set(one[0]) >= {
        "schema",
        "answer",
        "probability",
        "top",
        "unknown",
        "event",
        "stages_ms",
        "age_ms",
        "settled",
    }


def test_a_rate_passes_frames_over_but_no_event(serve: Serve) -> None:
    world = LiveWorld(rate=60)
    client, _ = serve(world)

    def turn() -> None:
        time.sleep(0.6)
        world.shown = "tulip"
        time.sleep(0.05)
        world.shown = "daisy"

    threading.Thread(target=turn, daemon=True).start()
    events = client.events("/api/predictions?per_second=3", 7)
    assert events[-1]["frame"] - events[0]["frame"] > 40
    assert [each["settled"] for each in events if each["event"] == "changed"][:2] == ["tulip", "daisy"]


@pytest.mark.parametrize(
    "path", ["/api/predictions?camera=x", "/api/history?camera=x", "/api/picture.jpg?camera=x", "/api/none", "/x"]
)
def test_what_is_not_there_is_said_to_be_not_there(serve: Serve, path: str) -> None:
    client, _ = serve(LiveWorld(), running=False)
    answer = client.get(path)
    assert answer.status == 404
    assert "there is no" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/api/history?seconds=nan", "/api/history?seconds=-1", "/api/predictions?per_second=x"]
)
def test_numbers_out_of_range_are_refused(serve: Serve, path: str) -> None:
    client, _ = serve(LiveWorld(), running=False)
    assert (client.get(path).status, "expected a number" in client.get(path).json()["error"]) == (400, True)


def test_the_picture_is_the_newest_one_once_for_all_and_not_wider_than_960(serve: Serve) -> None:
    world = LiveWorld(size=(1920, 1080))
    client, server = serve(world, running=False)
    world.observe(1)
    first = client.get("/api/picture.jpg?camera=bench")
    picture = cv2.imdecode(np.frombuffer(first.data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (540, 960, 3)
    # BGR in, BGR out: the disc is red.
    assert picture[:, :, 2].max() > picture[:, :, 0].max()
    again = [client.get("/api/picture.jpg") for _ in range(5)]
    assert {answer.headers["edgegraft-picture"] for answer in again} == {first.headers["edgegraft-picture"]}
    assert server.pictures_encoded == 1
    world.observe(2)
    second = client.get(f"/api/picture.jpg?not={first.headers['edgegraft-picture']}")
    assert second.headers["edgegraft-picture"] != first.headers["edgegraft-picture"]
    assert int(second.headers["edgegraft-age-ms"]) < 5000


def test_nothing_is_encoded_while_nobody_looks(serve: Serve) -> None:
    world = LiveWorld(rate=50)
    client, server = serve(world)
    client.get("/api/picture.jpg")
    client.get("/api/status")
    before, observed = server.pictures_encoded, world.observed
    assert wait_for(lambda: world.observed > observed + 25)
    assert server.pictures_encoded - before <= 1


def test_many_viewers_share_each_picture_and_a_slow_one_gets_the_newest(serve: Serve) -> None:
    world = LiveWorld(rate=50)
    client, server = serve(world)
    taken: list[str] = []

    def look() -> None:
        viewer, number = Client(server.port), "0"
        for _ in range(10):
            number = viewer.get(f"/api/picture.jpg?not={number}").headers["edgegraft-picture"]
            taken.append(number)

    threads = [threading.Thread(target=look) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(taken) == 120
    assert server.pictures_encoded < 60
    time.sleep(0.5)
    assert int(client.get("/api/picture.jpg").headers["edgegraft-age-ms"]) < 2000


def test_history_is_steps_of_half_a_second_with_events(serve: Serve) -> None:
    world = LiveWorld()
    world.past(100, "bench")
    client, _ = serve(world, running=False)
    past = client.get("/api/history").json()
    assert past["step_s"] == 0.5
    steps = past["steps"]
    assert 195 <= len(steps) <= 205
    assert sum(step["classified"] for step in steps) == pytest.approx(2000, abs=15)
    events = [event for step in steps for event in step["events"]]
    assert {"entered rose", "changed to tulip", "left dandelion"} <= set(events)
    assert len(client.get("/api/history?seconds=10").json()["steps"]) <= 21
    world.observe(5000)
    time.sleep(0.45)
    assert client.get("/api/history?seconds=5").json()["steps"][-1]["classified"] >= 1


def test_probes_tell_alive_from_ready(serve: Serve) -> None:
    world = LiveWorld()
    client, _ = serve(world, running=False)
    # It says that all is well, and there is no answer: something hangs.
    assert (client.get("/healthz").status, client.get("/readyz").status) == (503, 503)
    world.observe(1)
    assert wait_for(lambda: (client.get("/healthz").status, client.get("/readyz").status) == (200, 200))
    world.state = State.DEGRADED
    assert wait_for(lambda: client.get("/readyz").status == 503)
    assert client.get("/healthz").status == 200


def test_metrics_are_what_prometheus_reads(serve: Serve) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    odd = 'a "quoted" \\ name\nof two lines'
    world = LiveWorld(cameras=("bench", odd))
    client, _ = serve(world, running=False)
    world.observe(1, odd)
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in parser.text_string_to_metric_families(answer.data.decode())}
    assert all(family.documentation and name.startswith("edgegraft_") for name, family in families.items())
    # As promtool asks: counters end in _total, units are base units, no metric is called after its type.
    for name, family in families.items():
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples), name
        assert not name.endswith(("_ms", "_mb", "_gauge", "_counter")), name
    frames = {sample.labels["camera"]: sample.value for sample in families["edgegraft_camera_frames"].samples}
    assert set(frames) == {"bench", odd}
    state = {sample.labels["state"]: sample.value for sample in families["edgegraft_state"].samples}
    assert state == {"starting": 0, "ok": 1, "degraded": 0}
    (settled,) = families["edgegraft_answer"].samples
    assert (settled.labels["class"], settled.labels["camera"]) == ("rose", odd)
    assert families["edgegraft_inference_median_seconds"].samples[0].value == pytest.approx(0.0124)
    assert families["edgegraft_memory_total_bytes"].samples[0].value == 3.8e9
    assert "edgegraft_throttled" not in families


def test_a_frame_is_saved_under_a_class_and_a_near_duplicate_is_not(serve: Serve, tmp_path: Path) -> None:
    regions = {"bench": (Region("left", 0.0, 0.0, 0.5, 1.0),)}
    world = LiveWorld()
    client, _ = serve(world, running=False, collection=Collection(tmp_path / "photos"), regions=regions)
    world.observe(1)
    number = int(client.get("/api/picture.jpg").headers["edgegraft-picture"])
    told = client.post("/api/save", {"label": "peony", "camera": "bench", "picture": number}).json()
    assert (tmp_path / "photos" / told["file"]).is_file()
    assert told["saved"] == {"peony": 1}
    again = client.post("/api/save", {"label": "peony"}).json()
    assert (again["file"], again["duplicate"]) == (None, True)
    part = client.post("/api/save", {"label": "half", "region": "left"}).json()
    picture = cv2.imread(str(tmp_path / "photos" / part["file"]))
    assert picture is not None
    assert picture.shape == (360, 320, 3)
    assert client.get("/api/view").json()["saved"] == {"half": 1, "peony": 1}
    assert client.post("/api/save", {"label": "peony", "picture": 5}).status == 409


@pytest.mark.parametrize("label", ["", "../up", "a/b", "..", ".hidden", "nul\0", "x" * 300, "_unknown/../.."])
def test_a_class_that_is_no_folders_name_is_refused(serve: Serve, tmp_path: Path, label: str) -> None:
    world = LiveWorld()
    client, _ = serve(world, running=False, collection=Collection(tmp_path / "in" / "photos"))
    world.observe(1)
    assert client.post("/api/save", {"label": label}).status == 422
    assert not list(tmp_path.rglob("*.jpg"))


def test_without_a_folder_nothing_is_saved(serve: Serve) -> None:
    world = LiveWorld()
    client, _ = serve(world, running=False)
    assert client.get("/api/view").json()["saved"] is None
    assert client.post("/api/save", {"label": "rose"}).status == 409


def test_a_busy_port_is_said_at_the_start() -> None:
    world = LiveWorld()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            WebServer(world.monitor, WebConfig(WebAddress("127.0.0.1", port))) as server,
            pytest.raises(DeviceError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"),
        ):
            server.start()


def test_it_stops_soon_with_a_hundred_streams_open() -> None:
    world = LiveWorld()
    threads_before = threading.active_count()
    with world.running(), ExitStack() as stack:
        server = WebServer(world.monitor, WebConfig(LOOPBACK))
        server.start()
        for number in range(100):
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            path = "/api/predictions" if number % 2 else f"/api/picture.jpg?not={number}"
            stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            if number % 2:
                assert stream.recv(100)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 2.5
        assert wait_for(lambda: not any(thread.name.startswith("web") for thread in threading.enumerate()))
    assert wait_for(lambda: threading.active_count() <= threads_before)


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        (":8080", "127.0.0.1", 8080, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:9000", "::1", 9000, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("pi.local:8080", "pi.local", 8080, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_address(text)
    assert (address.host, address.port, address.loopback) == (host, port, loopback)
    if not loopback:
        with pytest.raises(DeviceError, match="needs a token"):
            WebConfig(address)


@pytest.mark.parametrize("text", ["", "8080", "127.0.0.1", "host:99999", "::1:80", "[zz]:80", "http://x:80", "a b:80"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match=r"expected HOST:PORT|expected e\.g\."):
        parse_address(text)
