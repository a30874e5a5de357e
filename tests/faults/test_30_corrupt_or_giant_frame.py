"""Row 30: a corrupt or giant frame is dropped and counted, and the next good one comes."""

from __future__ import annotations

import os
import time
import tracemalloc

import pytest
from camera_servers import STREAM_HEADER, Visit, http_server, jpeg_of, part

from device.cameras.http import MOST_FRAME_BYTES, open_http
from device.errors import BadFrame

_GOOD = jpeg_of("green")
# A header that claims 65,000 x 65,000 pixels: 12 GB when decoded.
_BOMB = _GOOD.replace(b"\x08\x01\xe0\x02\x80", b"\x08\xfd\xe8\xfd\xe8", 1)
_GIANT = _GOOD + bytes(MOST_FRAME_BYTES)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(part(_GOOD[: len(_GOOD) // 2]), id="cut short"),
        pytest.param(part(os.urandom(5000)), id="noise"),
        pytest.param(part(b"\xff\xd8" + os.urandom(5000) + b"\xff\xd9"), id="noise in a JPEG's clothes"),
        pytest.param(part(b""), id="empty"),
        pytest.param(part(_BOMB), id="bomb"),
        pytest.param(part(_GIANT), id="giant that says so"),
        pytest.param(part(_GIANT, None), id="giant that does not"),
    ],
)
def test_a_stream_goes_on_after_a_bad_frame(bad: bytes) -> None:
    def stream(visit: Visit) -> None:
        visit.send(STREAM_HEADER + part(_GOOD))
        time.sleep(0.3)
        visit.send(bad)
        visit.send(b"--frame-boundary\r\n" if b"Length" not in bad else b"")
        time.sleep(0.3)
        visit.send(part(_GOOD))
        visit.wait()

    with http_server(cam=stream) as server, open_http(server.uri("/cam")) as camera:
        assert camera.read() is not None
        with pytest.raises(BadFrame):
            camera.read()
        frame = camera.read()
        assert frame is not None and frame.pixels.mean(axis=(0, 1)).argmax() == 1


def test_a_frame_without_end_takes_no_memory_without_end() -> None:
    def stream(visit: Visit) -> None:
        visit.send(STREAM_HEADER + part(_GOOD, 10**15)[:-2])
        for _ in range(100):
            visit.send(bytes(1 << 20))
        visit.wait()

    with http_server(cam=stream) as server, open_http(server.uri("/cam")) as camera:
        tracemalloc.start()
        with pytest.raises(BadFrame):
            camera.read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3 * MOST_FRAME_BYTES


@pytest.mark.parametrize("bad", [_GOOD[:-30], _BOMB, _GIANT, b""])
def test_a_bad_snapshot_is_passed_over(bad: bytes) -> None:
    pictures = iter([_GOOD, bad, _GOOD])
    with (
        http_server(cam=lambda visit: visit.picture(next(pictures))) as server,
        open_http(server.uri("/cam"), fps=20) as camera,
    ):
        assert camera.read() is not None
        with pytest.raises(BadFrame):
            camera.read()
        assert camera.read() is not None
