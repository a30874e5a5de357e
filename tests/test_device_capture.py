"""``edgegraft capture``: at a terminal, by the clock, and as what a web page drives."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from sink_inputs import frame, picture

from device.cameras import open_camera
from device.cameras.base import Frame, FrameSource
from device.cameras.fake import FakeCamera
from device.cameras.spec import CameraSpec
from device.capture import CameraReader, CaptureSession, capture_timed
from device.capture_terminal import half_blocks
from device.collection import Collection
from device.errors import CameraError, DeviceError

# The module as the command line runs it.
_SCRIPT = (
    "import sys; from device import cli; from device.commands import capture; "
    "sys.exit(cli._run('capture', capture, sys.argv[1:]))"
)
COMMAND = [sys.executable, "-c", _SCRIPT]
_DEADLINE_S = 20.0


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _DEADLINE_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def ran(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_DEADLINE_S, check=False
    )


# By the clock


def test_the_clock_takes_as_many_as_asked_for_and_train_reads_them(tmp_path: Path) -> None:
    from pipeline.dataset import list_folder

    for seed, label in enumerate(("sign", "other")):
        done = ran(
            "--camera", f"scene:?seed={seed}", "--out", tmp_path / label, "--every", "0.2", "--count", "3", "--json"
        )
        assert done.returncode == 0, done.stderr
        about = json.loads(done.stdout)
        assert (about["saved"], about["photos"]) == ({label: 3}, {label: 3})
        assert len(re.findall(r"^\d: .*\.jpg$", done.stderr, re.MULTILINE)) == 3
    listing = list_folder(tmp_path)
    assert (listing.classes, len(listing.files), dict(listing.ignored)) == (("other", "sign"), 6, {})


def test_near_duplicates_do_not_count_and_a_film_ends(tmp_path: Path) -> None:
    film = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    for number in range(60):
        film.write(picture(number // 30))
    film.release()
    options = ("--out", tmp_path / "rose", "--every", "0.1", "--count", "50", "--json")
    done = ran("--camera", tmp_path / "film.mp4", *options)
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    # Two views; of each the encoder's first picture is coarser.
    assert 2 <= about["saved"]["rose"] <= 4 and about["duplicates"] > 3
    assert done.stderr.count("near-duplicates are not saved") <= 3  # said once, not every time


def test_an_absent_camera_is_waited_for_and_sigterm_ends_it(tmp_path: Path) -> None:
    command = [*COMMAND, "--camera", "/dev/video77", "--out", str(tmp_path / "rose"), "--every", "1", "--json"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            assert child.stderr is not None and child.stdout is not None
            line = child.stderr.readline().decode()
            assert "/dev/video77: no such camera" in line and "trying again" in line
            child.send_signal(signal.SIGTERM)
            assert child.wait(_DEADLINE_S) == 0
            assert json.loads(child.stdout.read())["saved"] == {"rose": 0}
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "a/b"], "no terminal to press keys at"),
        (["--out", "a", "--count", "3"], "--count takes a number from 1"),
        (["--out", "a", "--every", "0"], "--every is 0"),
        (["--out", "a", "--every", "nan"], "--every is nan"),
        (["--out", "a", "--every", "1", "--classes", "a,b"], "name one class"),
        (["--out", "a", "--every", "1", "--quality", "0"], "--quality is 0"),
        (["--out", "a", "--every", "1", "--burst", "0"], "--burst 0"),
        (["--out", "a", "--every", "1", "--web-token", "file:x"], "--web-token is of the page"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options: list[str], says: str) -> None:
    done = ran("--camera", "scene:", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_class_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    done = ran("--camera", "scene:", "--out", tmp_path, "--classes", "../up", "--every", "1")
    assert done.returncode == 1 and "slash" in done.stderr


def test_a_disk_that_is_full_ends_it_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "rose").write_text("not a folder")
    done = ran("--camera", "scene:", "--out", tmp_path / "rose", "--every", "0.1")
    assert done.returncode == 1 and "name a folder that can be written" in done.stderr


# At a terminal


class Terminal:
    """The command on a pseudo-terminal, driven by keys."""

    def __init__(self, *arguments: str | Path) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        environment = {**os.environ, "COLORTERM": "truecolor", "COLUMNS": "100", "LINES": "34"}
        self.child = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=self.slave,
            stdout=subprocess.PIPE,
            stderr=self.slave,
            env=environment,
            start_new_session=True,
        )
        self.text = ""

    def read(self) -> str:
        while select.select([self.master], [], [], 0.05)[0]:
            self.text += os.read(self.master, 65536).decode("utf-8", "replace")
        return self.text

    def shows(self, words: str) -> bool:
        return until(lambda: words in self.read() or self.child.poll() is not None) and words in self.text

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def ended(self) -> int:
        assert until(lambda: (self.read(), self.child.poll() is not None)[1]), self.text[-500:]
        return self.child.returncode

    def is_as_before(self) -> bool:
        self.read()
        shown, cursor = self.text.rfind("\x1b[?1049l"), self.text.rfind("\x1b[?25h")
        screen_is_back = shown > self.text.rfind("\x1b[?1049h") and cursor > self.text.rfind("\x1b[?25l")
        return termios.tcgetattr(self.slave) == self.before and screen_is_back


@contextlib.contextmanager
def terminal(*arguments: str | Path) -> Iterator[Terminal]:
    opened = Terminal(*arguments)
    try:
        yield opened
    finally:
        opened.child.kill()
        opened.child.communicate()
        os.close(opened.master)
        os.close(opened.slave)


def saved(folder: Path) -> dict[str, int]:
    return Collection(folder).counts()


def test_one_key_saves_under_its_class(tmp_path: Path) -> None:
    with terminal(
        "--camera", "scene:", "--out", tmp_path, "--classes", "stop,yield", "--burst", "3", "--interval", "0.1"
    ) as shown:
        assert shown.shows("\N{UPPER HALF BLOCK}") and shown.shows("[2] yield 0")
        shown.press(" ")
        assert shown.shows("press the key of a class first")
        shown.press("2")
        assert until(lambda: saved(tmp_path) == {"yield": 1}) and shown.shows("[2] yield 1")
        shown.press("\x1b[15~\x1b[11~")  # F5 and F1: the digits in them are no classes
        shown.press("b")
        assert shown.shows("burst: ")
        assert until(lambda: "burst: 3 saved" in shown.read() or "looked the same" in shown.text)
        shown.press("q")
        assert shown.ended() == 0 and shown.is_as_before()
    assert set(saved(tmp_path)) == {"yield"} and saved(tmp_path)["yield"] >= 2


def test_one_class_needs_no_key_and_the_end_of_a_film_is_the_end(tmp_path: Path) -> None:
    with terminal("--camera", "scene:?frames=50&live=0", "--out", tmp_path / "rose", "--json") as shown:
        assert shown.shows("\N{UPPER HALF BLOCK}") and shown.shows("space: rose again")
        shown.press(" ")
        assert shown.ended() == 0 and shown.is_as_before()
        assert shown.child.stdout is not None
        assert json.loads(shown.child.stdout.read())["saved"] == {"rose": 1}


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_put_back_whoever_ends_it(ending: signal.Signals, tmp_path: Path) -> None:
    with terminal("--camera", "scene:", "--out", tmp_path / "rose") as shown:
        assert shown.shows("[1] rose 0")
        shown.child.send_signal(ending)
        assert shown.ended() == 0 and shown.is_as_before()


def test_what_is_wrong_with_the_camera_stands_on_the_screen(tmp_path: Path) -> None:
    with terminal("--camera", "/dev/video77", "--out", tmp_path / "rose") as shown:
        assert shown.shows("no such camera")
        shown.press(" ")
        assert shown.shows("nothing to save")
        shown.press("q")
        assert shown.ended() == 0 and shown.is_as_before()


def test_half_blocks_are_the_picture() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4], pixels[4:] = (255, 0, 0), (0, 0, 255)  # BGR: blue above red
    lines = list(half_blocks(frame(pixels), 8, 20))
    assert len(lines) == 4 and lines[0].count("\N{UPPER HALF BLOCK}") == 8
    assert "38;2;0;0;255;48;2;0;0;255" in lines[0] and "38;2;255;0;0;48;2;255;0;0" in lines[3]
    assert len(list(half_blocks(frame(picture(1)), 10, 2))) <= 2
    assert list(half_blocks(frame(pixels), 8, 0)) == []


# As what a web page drives


@pytest.fixture
def session(tmp_path: Path) -> CaptureSession:
    return CaptureSession(Collection(tmp_path), ("rose", "tulip"))


def now(seed: int) -> Frame:
    return frame(picture(seed), seed, time.time(), time.monotonic())


def test_a_session_saves_the_newest_picture(session: CaptureSession) -> None:
    with pytest.raises(DeviceError, match="nothing to save"):
        session.save("rose")
    session.put(now(1))
    assert session.save("rose") is not None and session.save("rose") is None
    assert (session.counts(), session.duplicates) == ({"rose": 1, "tulip": 0}, 1)
    with pytest.raises(DeviceError, match="there is no class 'daisy'; expected one of rose, tulip"):
        session.save("daisy")
    session.put(frame(picture(2), 2, time.time() - 60, time.monotonic() - 60))
    session.fail("the cable is out")
    with pytest.raises(DeviceError, match="nothing to save: the cable is out"):
        session.save("rose")


def test_a_burst_takes_what_comes_and_another_has_to_wait(session: CaptureSession) -> None:
    camera = CameraSpec("scene:", True, lambda: open_camera("scene:?fps=50"))
    with CameraReader(camera, session):
        assert session.wait_for_frame(None, _DEADLINE_S) is not None
        results: list[int] = []
        burst = threading.Thread(target=lambda: results.append(session.burst("rose", 5, 0.2)))
        burst.start()
        assert until(lambda: session.saved["rose"] > 0)
        with pytest.raises(DeviceError, match="a burst has not ended"):
            session.burst("tulip", 2, 0)
        burst.join(_DEADLINE_S)
        assert results[0] == session.counts()["rose"] >= 1
        long = threading.Thread(target=lambda: results.append(session.burst("tulip", 1000, 3600)))
        long.start()
        assert until(lambda: session.saved["tulip"] > 0)
        session.stop()
        long.join(_DEADLINE_S)
        assert results[1:] == [1]
    for n, interval in ((0, 1.0), (1001, 1.0), (2, -1.0), (2, float("nan"))):
        with pytest.raises(DeviceError, match="expected 1 to 1000"):
            session.burst("rose", n, interval)


def test_the_clock_passes_over_a_picture_of_another_class_and_says_so(session: CaptureSession) -> None:
    told: list[str] = []
    session.put(now(1))
    session.save("rose")
    clock = threading.Thread(target=capture_timed, args=(session, "tulip", 0.05, 1, told.append))
    clock.start()
    assert until(lambda: bool(told))
    session.put(now(2))
    clock.join(_DEADLINE_S)
    assert "is in 'rose' already" in told[0] and session.saved == {"rose": 1, "tulip": 1}


def test_a_camera_that_fails_is_opened_again(session: CaptureSession) -> None:
    opened, told = [], []

    def open_next() -> FrameSource:
        opened.append(1)
        if len(opened) == 1:
            raise CameraError("camera x: absent; plug it in")
        return FakeCamera([picture(1), picture(2)])

    with CameraReader(CameraSpec("x", True, open_next), session, told.append):
        assert until(lambda: session.problem != "" or session.frame() is not None)
        assert until(lambda: session.frame() is not None and session.problem == "")
        assert until(lambda: session.over)
    assert told == ["camera x: camera x: absent; plug it in; trying again", "camera x: pictures come again"]
    assert not [thread for thread in threading.enumerate() if thread.name == "camera"]


def test_classes_have_to_be_names_and_each_once(tmp_path: Path) -> None:
    for classes in ((), ("a", "a")):
        with pytest.raises(DeviceError, match="each once"):
            CaptureSession(Collection(tmp_path), classes)
