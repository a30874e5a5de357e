"""Cameras that another program reads: real GStreamer pipelines, and a stand-in with rpicam-vid's command line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from device.cameras import open_camera, parse_camera
from device.cameras.base import Frame
from device.errors import CameraError

needs_gstreamer = pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gstreamer1.0-tools")
RED = "gst:videotestsrc pattern=red is-live=true ! video/x-raw,framerate=20/1"
PATIENCE_S = 30.0

# Writes frames of the size that its arguments ask for, each a shade brighter; refuses what rpicam-vid has not.
RPICAM_VID = """#!{python}
import argparse, itertools, os, sys, time
parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("camera", "timeout", "verbose", "width", "height"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--framerate", type=float)
parser.add_argument("--shutter", type=int)
AWB = "auto incandescent tungsten fluorescent indoor daylight cloudy".split()
parser.add_argument("--awb", choices=AWB)
parser.add_argument("--codec", choices=("yuv420", "h264", "mjpeg"))
parser.add_argument("--output")
parser.add_argument("--nopreview", action="store_true")
parser.add_argument("--flush", action="store_true")
args = parser.parse_args()
if args.camera == 7:
    sys.exit("ERROR: *** no cameras available ***")
assert args.codec == "yuv420" and args.output == "-" and args.timeout == 0
size = args.width * args.height
for number in itertools.count():
    shade = (16 + 4 * number) % 220
    sys.stdout.buffer.write(bytes([shade]) * size + bytes([128]) * (size // 2))
    sys.stdout.buffer.flush()
    time.sleep(1 / args.framerate)
"""


@pytest.fixture
def rpicam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "rpicam-vid"
    program.write_text(RPICAM_VID.replace("{python}", sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return program


def children() -> int:
    """How many processes are ours, zombies too."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True)
    return len(found.stdout.split())


def first(uri: str, want: tuple[int, int] | None = None) -> Frame:
    with parse_camera(uri, want).open() as camera:
        frame = camera.read()
    assert frame is not None
    return frame


@needs_gstreamer
def test_a_pipeline_shows_its_colours_and_the_size_that_is_asked_for() -> None:
    frame = first(f"{RED}#width=256&height=200")
    assert frame.pixels.shape == (200, 256, 3)
    blue, green, red = frame.pixels.reshape(-1, 3).mean(axis=0)
    assert red > 200 and green < 60 and blue < 60


@needs_gstreamer
def test_a_size_near_the_models_is_asked_for_and_nothing_below() -> None:
    height, width = first(RED, (224, 224)).pixels.shape[:2]
    assert 200 <= height <= 300
    assert 224 <= width <= 400


@needs_gstreamer
def test_frames_come_in_the_pace_of_the_pipeline_and_none_is_old() -> None:
    with open_camera(RED) as camera:
        camera.read()
        started = time.monotonic()
        frames = [camera.read() for _ in range(20)]
        took = time.monotonic() - started
    assert took > 0.6
    assert all(frame is not None and frame.decode_ms >= 0 for frame in frames)


@needs_gstreamer
def test_a_reader_that_was_away_gets_the_newest_frame() -> None:
    with open_camera("gst:videotestsrc is-live=true ! video/x-raw,framerate=30/1#width=128&height=64") as camera:
        before = camera.read()
        time.sleep(1.0)
        after = camera.read()
    assert before is not None and after is not None
    assert after.index - before.index > 15


@needs_gstreamer
def test_a_pipeline_that_is_wrong_is_told_in_its_own_words() -> None:
    with open_camera("gst:nosuchelement") as camera, pytest.raises(CameraError, match="nosuchelement") as caught:
        camera.read()
    assert "gst-launch-1.0 ended; it said:" in str(caught.value)


@needs_gstreamer
def test_one_that_stalls_ends_at_its_time_limit() -> None:
    uri = "gst:videotestsrc num-buffers=2 is-live=true ! identity sleep-time=20000000#timeout=1"
    with open_camera(uri) as camera, pytest.raises(CameraError, match="no frame for 1 s"):
        camera.read()


@needs_gstreamer
def test_an_interrupted_read_returns_at_once() -> None:
    uri = "gst:videotestsrc is-live=true ! identity sleep-time=20000000#timeout=25"
    with open_camera(uri) as camera:
        threading.Timer(0.5, camera.interrupt).start()
        started = time.monotonic()
        assert camera.read() is None
        assert time.monotonic() - started < 10


@needs_gstreamer
def test_nothing_is_left_after_fifty_openings() -> None:
    first(RED)
    before = (children(), len(list(Path("/proc/self/fd").iterdir())), threading.active_count())
    for number in range(50):
        camera = open_camera("gst:videotestsrc is-live=true#width=128&height=64")
        if number % 2:
            camera.read()
        camera.close()
        camera.close()
    assert (children(), len(list(Path("/proc/self/fd").iterdir())), threading.active_count()) == before


@needs_gstreamer
def test_the_program_dies_with_us_even_when_we_are_killed() -> None:
    script = f"""
import time
from device.cameras import open_camera
camera = open_camera("{RED}")
camera.read()
print(camera._child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as stream:
        child = int(stream.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    end = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split(")")[1][:3]:
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.05)


def test_a_pi_camera_is_read_through_rpicam_vid(rpicam: Path) -> None:
    with open_camera("csi:0?width=640&height=480&fps=30&exposure=5000&white-balance=daylight") as camera:
        frames = [camera.read() for _ in range(3)]
    shades = [float(frame.pixels.mean()) for frame in frames if frame is not None]
    assert frames[0] is not None and frames[0].pixels.shape == (480, 640, 3)
    assert shades[0] < shades[1] < shades[2]


def test_a_size_that_would_be_padded_is_not_asked_for(rpicam: Path) -> None:
    assert first("csi:0?width=500&height=301&fps=30").pixels.shape == (302, 512, 3)


def test_a_pi_without_a_camera_says_so_in_the_programs_words(rpicam: Path) -> None:
    with open_camera("csi:7") as camera, pytest.raises(CameraError, match=r"ended; it said: .*no cameras available"):
        camera.read()


def test_without_the_program_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CameraError, match="sudo apt-get install rpicam-apps"):
        open_camera("csi:0")
    with pytest.raises(CameraError, match=r"sudo apt-get install gstreamer1\.0-tools"):
        open_camera("gst:videotestsrc")


@pytest.mark.parametrize(("uri", "message"), [("gst:", "an empty pipeline"), ("gst:a 'b", "No closing quotation")])
def test_a_pipeline_that_is_none_is_refused(uri: str, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        open_camera(uri)


@needs_gstreamer
@pytest.mark.parametrize(
    ("shape", "options", "want", "size"),
    [
        ((1280, 720), "", (448, 448), (450, 800)),
        ((640, 480), "", (480, 480), (480, 640)),
        ((1080, 1920), "", (448, 448), (800, 450)),
        ((1366, 769), "", None, (768, 1368)),
        ((1280, 720), "#width=320", None, (180, 320)),
        ((1280, 720), "#width=800&height=600", (448, 448), (600, 800)),
    ],
)
def test_a_picture_keeps_its_shape_and_gets_no_black_borders(
    shape: tuple[int, int], options: str, want: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    source = "gst:videotestsrc pattern=white is-live=true ! video/x-raw,width={},height={}".format(*shape)
    pixels = first(source + options, want).pixels
    assert abs(pixels.shape[0] - size[0]) <= 8 and abs(pixels.shape[1] - size[1]) <= 8
    assert pixels.min() > 240


@needs_gstreamer
def test_colours_are_right_in_high_definition_too() -> None:
    pixels = first("gst:videotestsrc pattern=green is-live=true ! video/x-raw,width=1920,height=1080").pixels
    blue, green, red = pixels.reshape(-1, 3).mean(axis=0)
    assert green > 245 and blue < 10 and red < 10


@needs_gstreamer
def test_it_reads_with_more_than_a_thousand_descriptors_open() -> None:
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1300:
        pytest.skip("needs 1,300 descriptors (ulimit -n)")
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert first(RED).pixels.size
    finally:
        for descriptor in held:
            os.close(descriptor)


@pytest.mark.parametrize(
    "pipeline",
    ["rtspsrc location=rtsp://user:hidden@host/x ! decodebin", "rtspsrc user-id=a user-pw=hidden ! decodebin"],
)
def test_a_password_that_the_process_list_would_show_is_refused(pipeline: str) -> None:
    with pytest.raises(CameraError, match="process list") as caught:
        parse_camera(f"gst:{pipeline}")
    assert "hidden" not in str(caught.value)
