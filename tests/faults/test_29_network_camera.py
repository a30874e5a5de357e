"""Row 29, over the network: a camera that is absent at start, cut, frozen, slow, or comes back with another size."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest
from camera_servers import (
    STREAM_HEADER,
    Visit,
    http_server,
    jpeg_of,
    part,
    start_rtsp_server,
)

from device.cameras.base import FrameSource
from device.cameras.http import open_http
from device.cameras.rtsp import RtspCamera
from device.errors import BadFrame, CameraError

_TIMEOUT_S = 2.0
# For a machine with other things to do. Without time limits of our own it would be 30 s or for ever.
_AT_MOST_S = 15.0


def failure(camera: FrameSource) -> str:
    """What the camera ends with; it must be soon."""
    start = time.monotonic()
    with pytest.raises(CameraError) as ended:
        while time.monotonic() - start < _AT_MOST_S:
            try:
                camera.read()
            except BadFrame:
                continue
    assert time.monotonic() - start < _AT_MOST_S
    return str(ended.value)


@pytest.mark.parametrize("opener", [RtspCamera, open_http])
def test_an_absent_camera_is_named(opener: Callable[..., FrameSource]) -> None:
    scheme = "rtsp" if opener is RtspCamera else "http"
    for host in ("127.0.0.1:9", "no-such-camera.invalid"):
        with pytest.raises(CameraError, match="not reached"):
            opener(f"{scheme}://{host}/a", timeout_s=_TIMEOUT_S)


@pytest.mark.parametrize("opener", [RtspCamera, open_http])
def test_a_camera_that_takes_the_call_and_says_nothing(opener: Callable[..., FrameSource]) -> None:
    with http_server() as server:
        server.listener.listen()
        uri = server.uri("/mute")
        server.handlers["/mute"] = Visit.wait
        start = time.monotonic()
        with pytest.raises(CameraError, match=r"no .*answer within 2 s"):
            opener(uri.replace("http", "rtsp") if opener is RtspCamera else uri, timeout_s=_TIMEOUT_S)
        assert time.monotonic() - start < _AT_MOST_S


def test_an_rtsp_camera_whose_server_dies_and_comes_back() -> None:
    server = start_rtsp_server()
    try:
        with RtspCamera(server.uri("/red"), timeout_s=_TIMEOUT_S) as camera:
            assert camera.read() is not None
            server.stop()
            assert "ended" in failure(camera)
    finally:
        server.stop()


def test_an_rtsp_camera_that_freezes() -> None:
    server = start_rtsp_server()
    try:
        with RtspCamera(server.uri("/red"), timeout_s=_TIMEOUT_S) as camera:
            assert camera.read() is not None
            server.freeze()
            assert "no frame for 2 s" in failure(camera)
    finally:
        server.stop()


def cut(visit: Visit) -> None:
    visit.stream(itertools.repeat(part(jpeg_of("red")), 3))


def freeze(visit: Visit) -> None:
    visit.send(STREAM_HEADER + part(jpeg_of("red")))
    visit.wait()


def trickle(visit: Visit) -> None:
    visit.send(STREAM_HEADER)
    visit.stream(bytes([byte]) for byte in part(jpeg_of("red")))


@pytest.mark.parametrize(
    ("fault", "message"), [(cut, "the stream ended"), (freeze, "no frame for 2 s"), (trickle, "no whole frame for 2 s")]
)
def test_an_mjpeg_stream(fault: Callable[[Visit], None], message: str) -> None:
    with http_server(cam=fault) as server, open_http(server.uri("/cam"), timeout_s=_TIMEOUT_S) as camera:
        assert message in failure(camera)


def test_a_header_that_trickles() -> None:
    def slow(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(200):
            visit.send(b"x")
            time.sleep(0.1)

    with http_server(cam=slow) as server:
        start = time.monotonic()
        with pytest.raises(CameraError, match="no HTTP answer within 2 s"):
            open_http(server.uri("/cam"), timeout_s=_TIMEOUT_S)
        assert time.monotonic() - start < _AT_MOST_S


def test_a_snapshot_camera_that_fails_after_a_while() -> None:
    answers: Iterator[int] = itertools.count()

    def shot(visit: Visit) -> None:
        if next(answers) < 2:
            return visit.picture(jpeg_of("red"))
        return visit.send(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")

    with http_server(cam=shot) as server, open_http(server.uri("/cam"), fps=20) as camera:
        assert camera.read() is not None
        assert "answers 503 Service Unavailable" in failure(camera)


def test_an_mjpeg_stream_that_changes_its_size() -> None:
    def change(visit: Visit) -> None:
        visit.stream(iter([part(jpeg_of("red", 48, 64)), part(jpeg_of("red", 96, 128))]), pause_s=0.5)

    with http_server(cam=change) as server, open_http(server.uri("/cam")) as camera:
        shapes = [frame.pixels.shape[:2] for _ in range(2) if (frame := camera.read()) is not None]
    assert shapes == [(48, 64), (96, 128)]
