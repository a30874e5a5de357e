"""Row 29, at the board: a camera that is absent at start, unplugged, frozen, slow, or comes back with another size."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from device.cameras import parse_camera
from device.cameras.supervisor import SupervisedFeed, Supervision
from device.intake import Intake
from device.status import State

PATIENCE_S = 60.0
QUICK = Supervision(
    stall_s=0.5, first_frame_s=10, frozen_s=1.0, back_off_s=0.02, most_back_off_s=0.1, rate_window_s=0.5
)
# Has the command line of rpicam-vid. The file beside it says the frame rate, or 'still', or 'absent'.
RPICAM_VID = """#!{python}
import itertools, os, sys, time
given = dict(zip(sys.argv[1:], sys.argv[2:]))
size = int(given["--width"]) * int(given["--height"])
with open(os.path.join(os.path.dirname(sys.argv[0]), "pids"), "a") as file:
    print(os.getpid(), file=file)
for number in itertools.count():
    with open(os.path.join(os.path.dirname(sys.argv[0]), "mode")) as file:
        mode = file.read()
    if mode == "absent":
        sys.exit("ERROR: *** no cameras available ***")
    shade = 100 if mode == "still" else 16 + number % 200
    sys.stdout.buffer.write(bytes([shade]) * size + bytes([128]) * (size // 2))
    sys.stdout.buffer.flush()
    time.sleep(0.02 if mode == "still" else 1 / float(mode))
"""


class Board:
    """A feed on a camera that can be unplugged, and somebody who looks after it as the runtime does."""

    def __init__(self, folder: Path, mode: str) -> None:
        program = folder / "rpicam-vid"
        program.write_text(RPICAM_VID.replace("{python}", sys.executable))
        program.chmod(0o755)
        self._folder = folder
        self.set(mode)
        self.told: list[str] = []
        self.feed = SupervisedFeed(
            parse_camera("csi:0?width=128&height=64&fps=30"), Intake([True]), 0, QUICK, self.told.append
        )

    def set(self, mode: str) -> None:
        (self._folder / "new").write_text(mode)
        (self._folder / "new").replace(self._folder / "mode")

    @property
    def pids(self) -> list[int]:
        file = self._folder / "pids"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < end, (self.feed.status(), self.told)
            self.feed.check(time.monotonic())
            time.sleep(0.01)

    def until_state(self, state: State, reason: str = "") -> None:
        self.until(lambda: self.feed.status().state is state and reason in self.feed.status().reason)

    def __enter__(self) -> Board:
        self.feed.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.feed.stop()
        assert not [pid for pid in self.pids if Path(f"/proc/{pid}").exists()], "a program lives on, or is a zombie"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_absent_at_start_and_plugged_in_later(folder: Path) -> None:
    with Board(folder, "absent") as board:
        board.until_state(State.DEGRADED, "no cameras available")
        board.set("30")
        board.until_state(State.OK)
    assert len(board.told) == 2, "one line when it is away and one when it comes, however often it was tried"


def test_unplugged_again_and_again(folder: Path) -> None:
    with Board(folder, "50") as board:
        board.until_state(State.OK)
        descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208
        for _ in range(10):
            before = board.feed.status().reopened
            os.kill(board.pids[-1], signal.SIGKILL)
            board.until(lambda before=before: board.feed.status().reopened > before)  # type: ignore[misc]
            board.until_state(State.OK)
        board.until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)  # noqa: PTH208
        board.until(lambda: threading.active_count() <= threads)


def test_a_program_that_hangs_is_ended_and_started_again(folder: Path) -> None:
    with Board(folder, "50") as board:
        board.until_state(State.OK)
        os.kill(board.pids[-1], signal.SIGSTOP)
        board.until_state(State.DEGRADED, "no frame for 0.5 s")
        board.until_state(State.OK)
    assert len(board.pids) >= 2


def test_a_picture_that_does_not_change_is_told(folder: Path) -> None:
    with Board(folder, "still") as board:
        board.until_state(State.DEGRADED, "the same picture")
        board.set("30")
        board.until_state(State.OK)


def test_a_camera_that_is_too_slow_is_told(folder: Path) -> None:
    with Board(folder, "5") as board:
        board.until_state(State.DEGRADED, "too slow")


def test_a_pipeline_that_comes_back_with_another_size(tmp_path: Path, folder: Path) -> None:
    program = folder / "gst-launch-1.0"
    program.write_text(
        f"""#!{sys.executable}
import os, sys
here = os.path.dirname(sys.argv[0])
again = os.path.exists(os.path.join(here, "again"))
open(os.path.join(here, "again"), "w").close()
width, height = (64, 32) if again else (128, 64)
sys.stdout.buffer.write(b"YUV4MPEG2 C420 W%d H%d Ip F30:1 A1:1\\n" % (width, height))
for shade in range(20, 40):
    sys.stdout.buffer.write(b"FRAME\\n" + bytes([shade]) * (width * height) + bytes([128]) * (width * height // 2))
"""
    )
    program.chmod(0o755)
    spec = parse_camera("gst:videotestsrc")
    shapes = []
    for _ in range(2):
        with spec.open() as camera:
            frame = camera.read()
        assert frame is not None
        shapes.append(frame.pixels.shape)
    assert shapes == [(64, 128, 3), (32, 64, 3)]
