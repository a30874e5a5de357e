"""``edgegraft run`` as it stands on a shelf: cameras that are absent, signals, several cameras, the live view, MQTT."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker import Listener, free_port, make_broker
from bundles import CLASSES
from camera_servers import http_server, jpeg_of

PATIENCE_S = 60.0


class Running:
    """A child process whose standard error is read as it comes."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        program = Path(sys.executable).with_name("edgegraft")
        environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        self.process = subprocess.Popen(
            [str(each) for each in (program, "run", *arguments)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line.rstrip("\n"))

    def until(self, text: str) -> str:
        """The first line on standard error that holds this; fails when none comes."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                self.said.append(self._lines.get(timeout=0.2))
            except queue.Empty:
                assert self.process.poll() is None or not self._lines.empty(), self.said
                continue
            if text in self.said[-1]:
                return self.said[-1]
        raise AssertionError(f"nobody said {text!r}: {self.said}")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal and wait: exit code, standard output, the rest of standard error."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return code, self.process.stdout.read(), "\n".join(self.said)


Run = Callable[..., Running]


@pytest.fixture
def run(tmp_path: Path, colour_bundle: Path) -> Iterator[Run]:
    """Starts ``edgegraft run`` on the colour bundle with these arguments, and ends it at the end."""
    started: list[Running] = []

    def start(*arguments: object) -> Running:
        started.append(Running(tmp_path, colour_bundle, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        for stream in (each.process.stdout, each.process.stderr):
            assert stream is not None
            stream.close()


def fetch(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


def eventually(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def colour(name: str) -> Callable[[Any], None]:
    """An MJPEG camera that shows this; a little noise, for a picture that never changes is a frozen one."""

    def serve(visit: Any) -> None:
        from camera_servers import part

        shades = [jpeg_of(name, 60 + number % 2, 80) for number in range(2)]
        visit.stream((part(shades[number % 2]) for number in range(100_000)), pause_s=0.02)

    return serve


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_absent_camera_is_waited_for_until_somebody_ends_it(run: Run, number: int) -> None:
    running = run("--camera", "/dev/video97", "--variant", "tflite-float32")
    assert "/dev/video97: no such camera" in running.until("trying again")
    time.sleep(1.5)  # several more tries, each of them quiet
    code, _, said = running.stop(number)
    assert code == 0
    assert said.count("trying again") == 1
    assert "0 frames" in said
    assert "Traceback" not in said


def test_what_no_waiting_mends_is_refused_at_once(run: Run) -> None:
    running = run("--camera", "http://127.0.0.1/x#colour=1")
    assert "unknown option 'colour'" in running.until("edgegraft run:")
    assert running.process.wait(PATIENCE_S) == 1


def test_two_cameras_that_cannot_be_told_apart_are_refused(run: Run) -> None:
    running = run("--camera", "scene:?seed=1&name=door", "--camera", "scene:?seed=2&name=door")
    assert "two cameras are called 'door'; tell them apart with ?name=" in running.until("edgegraft run:")


def test_network_cameras_answers_live_view_and_broker_all_at_once(run: Run, tmp_path: Path) -> None:
    broker = make_broker(tmp_path / "broker")
    broker.start()
    listener = Listener(broker.port)
    port = free_port()
    try:
        with http_server(red=colour("red"), blue=colour("blue")) as server:
            running = run(
                *("--camera", server.uri("/red") + "#name=left", "--camera", server.uri("/blue") + "#name=right"),
                *("--sink", f"mqtt://127.0.0.1:{broker.port}/hall", "--sink", f"snapshots:{tmp_path / 'kept'}"),
                *("--sink", f"jsonl:{tmp_path / 'lines.jsonl'}", "--web", f"127.0.0.1:{port}"),
                *("--collect", tmp_path / "data"),
            )
            running.until("live view: http://127.0.0.1")
            eventually(lambda: fetch(port, "/api/status")["state"] == "ok")
            eventually(lambda: all(each["classified"] > 10 for each in fetch(port, "/api/status")["cameras"]))
            assert json.loads(listener.wait("hall/left/event")[0])["answer"] == "red"
            assert json.loads(listener.wait("hall/right/event")[0])["answer"] == "blue"
            assert fetch(port, "/api/status")["model"]["bundle"] == "colours"
            code, _, said = running.stop()
        assert code == 0, said
        lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
        assert {(line["camera"], line["answer"]) for line in lines} == {("left", "red"), ("right", "blue")}
        entered = [(line["camera"], line["settled"]) for line in lines if line["event"] == "entered"]
        assert sorted(entered) == [("left", "red"), ("right", "blue")]
        assert len(list((tmp_path / "kept").glob("*-event-*.jpg"))) == 2
        assert listener.wait("hall/availability", lambda got: got[-1] == b"offline")
    finally:
        listener.close()
        broker.stop()


def test_rules_from_a_file_are_kept_to(run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('background = ["green"]\n[class.red]\nignore = true\n')
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, name in enumerate(CLASSES):
        (photos / f"{number}.jpg").write_bytes(jpeg_of(name, 48, 64))
    running = run("--camera", photos, "--rules", rules, "--sink", "jsonl:lines")
    assert running.process.wait(PATIENCE_S) == 0
    answers = [json.loads(line)["answer"] for line in (tmp_path / "lines").read_text().splitlines()]
    assert answers == [None, "green", "blue"]


def test_a_mistake_in_the_rules_is_told_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("[class.rde]\nthreshold = 0.5\n")
    running = run("--camera", "scene:", "--rules", tmp_path / "rules.toml")
    assert "no class 'rde'; did you mean 'red'?" in running.until("edgegraft run:")


def test_at_most_so_many_frames_a_second(run: Run, tmp_path: Path) -> None:
    with http_server(red=colour("red")) as server:
        uri = server.uri("/red") + "#name=it"
        running = run("--camera", uri, "--max-fps", "5", "--frames", "10", "--sink", "jsonl:lines")
        assert running.process.wait(PATIENCE_S) == 0
    times = [json.loads(line)["captured_at"] for line in (tmp_path / "lines").read_text().splitlines()]
    assert len(times) == 10
    assert times[-1] - times[0] > 0.9 * 9 / 5


def test_where_nothing_moves_the_model_rests(run: Run) -> None:
    with http_server(red=colour("red")) as server:
        running = run("--camera", server.uri("/red") + "#name=it", "--motion", "--json")
        running.until("Ctrl-C stops")
        time.sleep(6)
        code, out, said = running.stop()
    assert code == 0, said
    summary = json.loads(out)
    assert summary["still"] > summary["frames"]


def test_the_service_manager_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        running = run("--camera", "scene:?name=it")
        told = [manager.recv(4096).decode() for _ in range(4)]
        assert "READY=1" in told
        assert "WATCHDOG=1" in told
        running.stop()
        while "STOPPING=1" not in told:
            told.append(manager.recv(4096).decode())
