"""Cameras over the network, against real servers: what they show, how fresh it is, and what they never tell."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from bundles import plain_picture
from camera_servers import (
    BOUNDARY,
    CREDENTIALS,
    PASSWORD,
    STREAM_HEADER,
    RtspServer,
    Visit,
    clock_age_s,
    http_server,
    jpeg_of,
    locked,
    part,
    start_rtsp_server,
)

from device.cameras.address import redacted
from device.cameras.base import Frame, FrameSource
from device.cameras.http import MjpegCamera, SnapshotCamera, open_http
from device.cameras.jpeg import decode_jpeg
from device.cameras.multipart import MultipartParser, boundary_of
from device.cameras.pacing import Pacing
from device.cameras.rtsp import RtspCamera
from device.errors import BadFrame, CameraError

_SECRET_PARTS = (PASSWORD, "s3cret", "pass%2Fword")


@pytest.fixture(scope="module")
def rtsp() -> Iterator[RtspServer]:
    server = start_rtsp_server()
    yield server
    server.stop()


def colour_of(frame: Frame | None) -> str:
    assert frame is not None
    return ("blue", "green", "red")[int(frame.pixels.mean(axis=(0, 1)).argmax())]


def red_stream(visit: Visit) -> None:
    visit.stream(itertools.repeat(part(jpeg_of("red"))))


def assert_silent(message: str) -> None:
    assert not [secret for secret in _SECRET_PARTS if secret in message]


def interrupted_read_s(camera: FrameSource) -> float:
    """Seconds from the interruption of a read to its return, which must be without a frame."""
    moments: list[float] = []

    def interrupt() -> None:
        moments.append(time.monotonic())
        camera.interrupt()

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    while camera.read() is not None:
        pass
    timer.join()
    return time.monotonic() - moments[0]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://u:p@cam.local:8554/a?x=1", "rtsp://cam.local:8554/a?x=1"),
        ("RTSPS://admin:p@ss@10.0.0.2/a", "RTSPS://10.0.0.2/a"),
        ("rtsp://admin:pa/ss?w#o@10.0.0.2/a", "rtsp://10.0.0.2/a"),
        ("rtsp://cam/live/@front", "rtsp://cam/live/@front"),
        ("rtsp://[fe80::1]:554/live/@front", "rtsp://[fe80::1]:554/live/@front"),
        (
            "http://cam/s.jpg?width=8&Token=abc&user_password=x%20y&fps=2",
            "http://cam/s.jpg?width=8&Token=***&user_password=***&fps=2",
        ),
        ("http://cam/user=admin_password=hush_channel=1.sdp", "http://cam/user=***"),
        ("http://proxy/?url=rtsp%3A%2F%2Fu%3Ahush%40cam", "http://proxy/?url=***"),
        (
            'gst:rtspsrc location=rtsp://u:p@cam/a user-pw="hu sh" ! decodebin',
            "gst:rtspsrc location=rtsp://cam/a user-pw=*** ! decodebin",
        ),
        ("mqtt://u:p@broker", "mqtt://broker"),
        ("/dev/video0?width=640", "/dev/video0?width=640"),
        ("scene:?seed=3", "scene:?seed=3"),
    ],
)
def test_what_is_shown_of_an_address(uri: str, shown: str) -> None:
    assert redacted(uri) == shown


@pytest.mark.parametrize("path", ["/red", "/green", "/blue", "/jpeg-red", "/jpeg-blue"])
def test_rtsp_shows_the_right_colour(rtsp: RtspServer, path: str) -> None:
    with RtspCamera(rtsp.uri(path)) as camera:
        frame = camera.read()
        assert colour_of(frame) == path.rpartition("-")[2].strip("/")
        assert frame is not None and frame.pixels.shape == (240, 320, 3)


def test_rtsp_comes_over_udp_too(rtsp: RtspServer) -> None:
    with RtspCamera(rtsp.uri("/green"), transport="udp") as camera:
        assert colour_of(camera.read()) == "green"


def test_rtsp_mjpeg_is_decoded_no_larger_than_wanted(rtsp: RtspServer) -> None:
    with RtspCamera(rtsp.uri("/jpeg-red"), want=(100, 100)) as camera:
        frame = camera.read()
        assert colour_of(frame) == "red"
        assert frame is not None and frame.pixels.shape == (120, 160, 3)


def test_rtsp_never_shows_what_the_server_had_queued(rtsp: RtspServer) -> None:
    with RtspCamera(rtsp.uri("/clock")) as camera:
        ages = []
        for _ in range(20):
            frame = camera.read()
            assert frame is not None
            ages.append(clock_age_s(frame.pixels, frame.captured_at))
    assert max(ages) < 0.7, ages  # about 1.2 s are queued while FFmpeg opens


def test_rtsp_is_fresh_again_after_a_pause_of_the_reader(rtsp: RtspServer) -> None:
    with RtspCamera(rtsp.uri("/clock")) as camera:
        camera.read()
        time.sleep(4)
        frame = camera.read()
        assert frame is not None
        assert clock_age_s(frame.pixels, time.time()) < 1.5
        assert clock_age_s(frame.pixels, frame.captured_at) < 0.7


def test_rtsp_gives_no_more_than_the_rate_asked_for(rtsp: RtspServer) -> None:
    with RtspCamera(rtsp.uri("/red"), fps=5) as camera:
        frames = [camera.read() for _ in range(6)]
        steps = np.diff([frame.index for frame in frames if frame is not None])
        assert len(steps) == 5
        assert 4 <= np.median(steps) <= 6


@pytest.mark.parametrize("authentication", ["basic", "digest"])
def test_rtsp_takes_the_password_and_tells_nobody(authentication: str) -> None:
    server = start_rtsp_server(authentication)
    try:
        with RtspCamera(server.uri("/green", CREDENTIALS)) as camera:
            assert colour_of(camera.read()) == "green"
        with pytest.raises(CameraError, match="does not accept this user and password") as refused:
            RtspCamera(server.uri("/green", "viewer:s3cret"))
        assert_silent(str(refused.value))
        with pytest.raises(CameraError, match="asks for credentials"):
            RtspCamera(server.uri("/green"))
        assert_no_log_holds_the_password(server.uri("/green", "viewer:s3cret"))
    finally:
        server.stop()


def test_rtsp_says_what_is_wrong(rtsp: RtspServer) -> None:
    with pytest.raises(CameraError, match="no such stream"):
        RtspCamera(rtsp.uri("/absent"))
    with pytest.raises(CameraError, match="not reached"):
        RtspCamera("rtsp://127.0.0.1:9/a")
    with http_server() as server, pytest.raises(CameraError, match=r"does not talk RTSP|not reached"):
        RtspCamera(server.uri("/a").replace("http", "rtsp"))


def test_a_camera_that_is_away_writes_no_password_to_the_log(rtsp: RtspServer) -> None:
    assert_no_log_holds_the_password("rtsp://viewer:s3cret@127.0.0.1:9/a")
    assert_no_log_holds_the_password(rtsp.uri("/absent", "viewer:s3cret"))


def assert_no_log_holds_the_password(uri: str) -> None:
    program = "import sys\nfrom device.cameras.rtsp import RtspCamera\nRtspCamera(sys.stdin.read(), timeout_s=3)\n"
    environment = {**os.environ, "OPENCV_LOG_LEVEL": "DEBUG", "OPENCV_VIDEOIO_DEBUG": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        input=uri,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 1
    assert "CameraError" in ran.stderr
    assert_silent(ran.stdout + ran.stderr)


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "concat:a|b", "rtsp:///x", "http://h/x", "rtsp://h/ x", "rtsp://h:p/"]
)
def test_rtsp_reaches_nothing_but_rtsp(uri: str) -> None:
    with pytest.raises(CameraError):
        RtspCamera(uri)


def test_an_interrupted_rtsp_read_returns_long_before_its_time_limit(rtsp: RtspServer) -> None:
    with RtspCamera(rtsp.uri("/red"), timeout_s=20) as camera:
        assert interrupted_read_s(camera) < 5


def test_mjpeg_shows_the_right_colour_and_reduced() -> None:
    with http_server(stream=red_stream) as server, open_http(server.uri("/stream"), want=(100, 100)) as camera:
        assert isinstance(camera, MjpegCamera)
        frame = camera.read()
        assert colour_of(frame) == "red"
        assert frame is not None and frame.pixels.shape == (120, 160, 3)


def test_mjpeg_decodes_only_the_newest_of_what_has_come() -> None:
    sent = threading.Event()

    def stream(visit: Visit) -> None:
        colours = ["red"] * 6 + ["blue"]
        visit.send(STREAM_HEADER + b"".join(part(jpeg_of(colour, 48, 64)) for colour in colours))
        sent.set()
        visit.wait()

    with http_server(stream=stream) as server, open_http(server.uri("/stream")) as camera:
        assert sent.wait(10)
        time.sleep(0.2)
        frame = camera.read()
        assert colour_of(frame) == "blue"
        assert frame is not None and frame.index == 6


def test_a_part_without_a_length_is_not_held_back_until_the_next() -> None:
    def stream(visit: Visit) -> None:
        visit.send(STREAM_HEADER + b"a preamble\r\n" + part(jpeg_of("green"), None))
        visit.wait()

    with http_server(stream=stream) as server, open_http(server.uri("/stream"), timeout_s=3) as camera:
        assert colour_of(camera.read()) == "green"


def test_snapshots_are_asked_for_at_the_rate_given() -> None:
    with http_server(shot=lambda visit: visit.picture(jpeg_of("blue"))) as server:
        with open_http(server.uri("/shot"), fps=10) as camera:
            assert isinstance(camera, SnapshotCamera)
            start = time.monotonic()
            assert [colour_of(camera.read()) for _ in range(6)] == ["blue"] * 6
            assert time.monotonic() - start > 0.4
        assert len(server.visits) == 6


@pytest.mark.parametrize("scheme", ["basic", "digest-MD5", "digest-SHA-256"])
def test_http_passwords(scheme: str) -> None:
    def shot(visit: Visit) -> None:
        visit.picture(jpeg_of("red"))

    with http_server(shot=locked(shot, scheme)) as server:
        with open_http(server.uri("/shot?a=1", CREDENTIALS), fps=50) as camera:
            assert [colour_of(camera.read()) for _ in range(3)] == ["red"] * 3
        assert len(server.visits) == 4  # the challenge is answered once and kept
        assert "authorization" not in server.visits[0].headers
        with pytest.raises(CameraError, match="does not accept this user and password") as refused:
            open_http(server.uri("/shot", "viewer:s3cret"))
        assert_silent(str(refused.value))
        with pytest.raises(CameraError, match="asks for credentials"):
            open_http(server.uri("/shot"))


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    def shot(visit: Visit) -> None:
        visit.picture(jpeg_of("red"))

    with http_server(shot=locked(shot, "basic")) as other:

        def away(visit: Visit) -> None:
            visit.send(redirect(other.uri("/shot", host="localhost")))

        with http_server(
            away=locked(away, "basic"), here=lambda visit: visit.send(redirect("/red")), red=shot
        ) as server:
            with open_http(server.uri("/here", CREDENTIALS)) as camera:
                assert colour_of(camera.read()) == "red"
            with pytest.raises(CameraError, match=r"does not accept|asks for"):
                open_http(server.uri("/away", CREDENTIALS))
            assert any("authorization" in visit.headers for visit in server.visits)
        assert other.visits and not [visit for visit in other.visits if "authorization" in visit.headers]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://h/x", "/loop"])
def test_redirects_lead_to_http_and_come_to_an_end(location: str) -> None:
    with (
        http_server(loop=lambda visit: visit.send(redirect(location))) as server,
        pytest.raises(CameraError, match="redirect"),
    ):
        open_http(server.uri("/loop"))


def test_a_page_instead_of_a_picture_is_named() -> None:
    with (
        http_server(page=lambda visit: visit.picture(b"<html>", "text/html")) as server,
        pytest.raises(CameraError, match="answers with 'text/html'; expected"),
    ):
        open_http(server.uri("/page"))


@pytest.mark.parametrize("kind", ["stream", "shot"])
def test_an_interrupted_http_read_returns_long_before_its_time_limit(kind: str) -> None:
    visits = itertools.count()

    def silent(visit: Visit) -> None:
        if kind == "stream":
            visit.send(STREAM_HEADER + part(jpeg_of("red")))
        elif next(visits) == 0:
            return visit.picture(jpeg_of("red"))
        return visit.wait()

    with http_server(any=silent) as server, open_http(server.uri("/any"), timeout_s=20) as camera:
        assert interrupted_read_s(camera) < 5


def test_fifty_cameras_leave_nothing_open(rtsp: RtspServer) -> None:
    def once(uri: str) -> None:
        with RtspCamera(uri) if uri.startswith("rtsp") else open_http(uri) as camera:
            assert camera.read() is not None

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208

    with http_server(stream=red_stream, shot=lambda visit: visit.picture(jpeg_of("red"))) as server:
        for path in ("/stream", "/shot"):
            once(server.uri(path))
        once(rtsp.uri("/red"))
        settle()
        before = held()
        for path in ("/stream", "/shot"):
            for _ in range(50):
                once(server.uri(path))
        for _ in range(5):
            once(rtsp.uri("/jpeg-red"))
        settle()
        after = held()
    assert after[0] <= before[0] + 2 and after[1] <= before[1] + 2, (before, after)


@pytest.mark.long
def test_fifty_rtsp_cameras_leave_nothing_open(rtsp: RtspServer) -> None:
    def once() -> None:
        with RtspCamera(rtsp.uri("/jpeg-red")) as camera:
            assert camera.read() is not None

    once()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        once()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208


def settle() -> None:
    """Wait until the threads of the server in this process have seen that nobody listens any more."""
    deadline = time.monotonic() + 5
    while threading.active_count() > 3 and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("want", "shape"),
    [
        (None, (480, 640)),
        ((240, 320), (240, 320)),
        ((241, 320), (480, 640)),
        ((100, 100), (120, 160)),
        ((60, 80), (60, 80)),
        ((9, 9), (60, 80)),
        ((999, 999), (480, 640)),
    ],
)
def test_a_jpeg_is_reduced_as_far_as_its_use_allows(want: tuple[int, int] | None, shape: tuple[int, int]) -> None:
    pixels, full = decode_jpeg(jpeg_of("green"), want)
    assert (pixels.shape, full) == ((*shape, 3), (480, 640))
    assert np.abs(pixels.astype(int) - plain_picture("green", *shape)).max() <= 3


@pytest.mark.parametrize(
    ("content_type", "delimiter"),
    [
        ("multipart/x; boundary=abc", b"--abc"),
        ('multipart/x;boundary="a b"; x=1', b"--a b"),
        ("multipart/x; Boundary=--abc", b"--abc"),
        ("multipart/x", b"--"),
    ],
)
def test_boundaries_as_cameras_write_them(content_type: str, delimiter: bytes) -> None:
    assert boundary_of(content_type) == delimiter


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("length", [-1, None])
def test_a_stream_in_pieces_gives_every_part(step: int, length: int | None) -> None:
    frames = [bytes([number]) * 300 for number in range(5)]
    stream = b"preamble" + b"".join(part(frame, length) for frame in frames) + b"--" + BOUNDARY + b"--\r\n"
    parser = MultipartParser(b"--" + BOUNDARY, 1000)
    found = []
    for start in range(0, len(stream), step):
        parser.feed(stream[start : start + step])
        found.append(parser.take())
    assert parser.complete == 5
    assert [frame for frame in found if frame is not None][-1] == frames[-1]
    if step < 300:
        assert [frame for frame in found if frame is not None] == frames


def test_random_bytes_neither_crash_nor_fill_the_parser() -> None:
    random = np.random.default_rng(5)
    pieces = [
        b"--" + BOUNDARY,
        b"\r\n",
        b"\n\n",
        b"Content-Length: 9",
        b"Content-Length: 99999999999",
        b"--",
        b"\xff\xd9",
    ]
    for _ in range(300):
        parser = MultipartParser(b"--" + BOUNDARY, 1000)
        for choice in random.integers(0, len(pieces) + 1, 60):
            parser.feed(pieces[choice] if choice < len(pieces) else random.bytes(int(random.integers(0, 900))))
            parser.take_unclosed()
            kept = parser.take()
            assert kept is None or len(kept) <= 1000


def test_a_backlog_is_over_when_frames_keep_the_time_of_their_stamps() -> None:
    pacing = Pacing(0.04)
    stamps = [number * 0.04 for number in range(60)]
    # 40 frames at once with a pause in their midst that is the machine's, then in real time.
    arrivals = [0.001 * number + (0.3 if number > 20 else 0) for number in range(40)]
    arrivals += [0.35 + 0.04 * number for number in range(1, 21)]
    fresh = [pacing.fresh(100 + arrival, stamp) for arrival, stamp in zip(arrivals, stamps, strict=True)]
    assert fresh.index(True) in range(42, 45)
    assert all(fresh[45:])


def test_a_frame_that_was_held_up_is_as_old_as_it_is() -> None:
    pacing = Pacing(0.04)
    for number in range(50):
        pacing.fresh(number * 0.04, number * 0.04)
    assert pacing.fresh(50 * 0.04 + 0.1, 50 * 0.04)
    assert pacing.late_s == pytest.approx(0.1, abs=0.01)


def test_what_waited_during_a_pause_is_passed_over() -> None:
    pacing = Pacing(0.04)
    for number in range(50):
        pacing.fresh(number * 0.04, number * 0.04)
    # 2 s of frames at once, then in real time.
    arrivals = [4 + 0.001 * number for number in range(50)] + [4.04 + 0.04 * number for number in range(10)]
    fresh = [pacing.fresh(arrival, 2 + 0.04 * number) for number, arrival in enumerate(arrivals)]
    assert 44 <= fresh.index(True) <= 51
    assert all(fresh[51:])


def test_stamps_that_stand_still_do_not_stop_the_stream() -> None:
    pacing = Pacing(0.04)
    assert [pacing.fresh(number * 0.04, 0.0) for number in range(10)][-1]


def test_bad_frames_are_camera_errors_of_their_own() -> None:
    for data in (b"", b"\xff\xd8", jpeg_of("red")[:-20], b"GIF89a", os.urandom(3000)):
        with pytest.raises(BadFrame):
            decode_jpeg(data)
