"""What a camera's URI means, and what its options do to the picture."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.cameras import open_camera, parse_camera
from device.cameras.spec import Region
from device.cameras.v4l2 import find_device
from device.errors import CameraError


@pytest.fixture
def corner(tmp_path: Path) -> Path:
    """A photo of 60 x 40 that is black but for its left upper quarter."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30] = 255
    path = tmp_path / "corner.png"
    cv2.imwrite(str(path), picture)
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Ten frames at 20 a second, each a shade brighter."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for shade in range(10):
        writer.write(np.full((48, 64, 3), 20 * shade, np.uint8))
    writer.release()
    return path


def shown(uri: str) -> np.ndarray:
    with open_camera(uri) as camera:
        frame = camera.read()
    assert frame is not None
    return frame.pixels


@pytest.mark.parametrize(
    ("options", "size", "bright"),
    [
        ("rotate=90", (60, 40), (slice(0, 30), slice(20, 40))),
        ("rotate=180", (40, 60), (slice(20, 40), slice(30, 60))),
        ("rotate=270", (60, 40), (slice(30, 60), slice(0, 20))),
        ("flip=h", (40, 60), (slice(0, 20), slice(30, 60))),
        ("flip=v", (40, 60), (slice(20, 40), slice(0, 30))),
        ("flip=hv", (40, 60), (slice(20, 40), slice(30, 60))),
        ("roi=0,0,0.5,0.5", (20, 30), (slice(0, 20), slice(0, 30))),
        ("roi=0.25,0,0.5,1&rotate=90", (30, 40), (slice(0, 15), slice(20, 40))),
    ],
)
@pytest.mark.parametrize("mark", ["?", "#"])
def test_a_picture_is_turned_mirrored_and_cropped(
    corner: Path, options: str, size: tuple[int, int], bright: tuple[slice, slice], mark: str
) -> None:
    pixels = shown(f"{corner}{mark}{options}")
    assert pixels.shape[:2] == size
    assert pixels.flags.c_contiguous or "roi" in options
    assert pixels[bright].min() == 255
    dark = pixels.copy()
    dark[bright] = 0
    assert dark.max() == 0


def test_regions_are_told_and_change_nothing_of_the_picture(corner: Path) -> None:
    spec = parse_camera(f"{corner}?region=left:0,0,0.5,1&region=right:0.5,0,0.5,1&name=belt")
    assert spec.regions == (Region("left", 0, 0, 0.5, 1), Region("right", 0.5, 0, 0.5, 1))
    assert spec.name == "belt"
    with spec.open() as camera:
        frame = camera.read()
    assert frame is not None and frame.pixels.shape == (40, 60, 3)


@pytest.mark.parametrize("name", ["what?.png", "no #1.png", "100%.png"])
def test_a_file_may_have_any_name(corner: Path, name: str) -> None:
    path = corner.rename(corner.with_name(name))
    assert shown(str(path)).shape == (40, 60, 3)
    assert shown(f"{path}?rotate=90").shape == (60, 40, 3)


def test_a_film_at_its_own_pace_is_live_and_takes_its_time(film: Path) -> None:
    spec = parse_camera(f"{film}?pace=1")
    assert spec.live
    started = time.monotonic()
    with spec.open() as camera:
        count = sum(1 for _ in iter(camera.read, None))
    assert count == 10
    assert time.monotonic() - started > 0.4


def test_a_film_in_a_loop_goes_on_counting(film: Path) -> None:
    with open_camera(f"{film}?loop=1") as camera:
        frames = [camera.read() for _ in range(25)]
    assert [frame.index for frame in frames if frame is not None] == list(range(25))
    assert np.array_equal(frames[3].pixels, frames[23].pixels)  # type: ignore[union-attr]


def test_the_same_camera_can_be_opened_again_and_again(film: Path) -> None:
    spec = parse_camera(str(film))
    for _ in range(2):
        with spec.open() as camera:
            assert sum(1 for _ in iter(camera.read, None)) == 10


def test_of_a_network_camera_the_query_is_the_cameras_own() -> None:
    spec = parse_camera("rtsp://user:secret@host/live?channel=1&width=7#name=door&region=a:0,0,1,1&transport=udp&fps=5")
    assert (spec.name, spec.live, spec.fps, len(spec.regions)) == ("door", True, 5.0, 1)
    unnamed = parse_camera("rtsp://user:secret@host/live?channel=1")
    assert "secret" not in unnamed.name
    assert "host/live" in unnamed.name


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("scene:?region=a:0,0,1,1&region=a:0,0,1,1", "region 'a' twice"),
        ("scene:?region=a:0.5,0,0.6,1", "expected NAME:LEFT,TOP,WIDTH,HEIGHT in fractions"),
        ("scene:?region=a b:0,0,1,1", "expected NAME:LEFT,TOP,WIDTH,HEIGHT"),
        ("scene:?roi=0,0,0,1", "expected LEFT,TOP,WIDTH,HEIGHT"),
        ("scene:?roi=nan,0,1,1", "expected LEFT,TOP,WIDTH,HEIGHT"),
        ("scene:?rotate=45", "'rotate' is '45', expected 0, 90, 180 or 270 degrees"),
        ("scene:?flip=x", "expected h, v or hv"),
        ("scene:?name=a&name=b", "'name' is given twice"),
        ("0?transport=udp", "unknown option 'transport'; known are: name, region,"),
        ("0?format=m", "expected a pixel format such as mjpeg"),
        ("rtsp://u:secret@host/x#tansport=udp", "unknown option 'tansport'"),
        ("csi:x", "cameras of the kind 'csi:' are not supported"),
        ("ftp://host/x", "cameras of the kind 'ftp:' are not supported; expected 0, "),
    ],
)
def test_what_is_not_understood_is_said_before_anything_is_opened(uri: str, message: str) -> None:
    with pytest.raises(CameraError) as caught:
        parse_camera(uri)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_more_regions_than_a_board_can_bear_are_refused() -> None:
    many = "&".join(f"region=r{number}:0,0,1,1" for number in range(17))
    with pytest.raises(CameraError, match="more than 16 regions"):
        parse_camera(f"scene:?{many}")


def test_a_camera_that_is_asked_for_by_a_name_that_nobody_has() -> None:
    with pytest.raises(CameraError, match="v4l2:Imaginary: no camera of that name; present: "):
        open_camera("v4l2:Imaginary")


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://user:hid#den@host/stream",
        "rtsp://user:12#34@host/stream",
        "RTSP+x://user:hid@den/stream",
        "Rtsp://user:hid#den@host/stream",
    ],
)
def test_no_message_holds_a_part_of_a_password(uri: str) -> None:
    with pytest.raises(CameraError) as caught:
        parse_camera(uri)
    assert not any(part in str(caught.value) for part in ("hid", "den", "12", "34"))


def test_a_scheme_may_have_capitals() -> None:
    assert parse_camera("RTSP://host/stream").live


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two webcams of a kind and another, each with a node for metadata."""
    by_id = tmp_path / "dev/v4l/by-id"
    by_id.mkdir(parents=True)
    for number, name in enumerate(["Cam X", "Cam X", "Cam X", "Cam X", "Other: Y", "Other: Y"]):
        (tmp_path / f"dev/video{number}").touch()
        about = tmp_path / f"sys/class/video4linux/video{number}"
        about.mkdir(parents=True)
        (about / "name").write_text(f"{name}\n")
        (about / "index").write_text(f"{number % 2}\n")
        (by_id / f"usb-Maker_{name[:3]}_{'ABC'[number // 2]}-video-index{number % 2}").symlink_to(
            f"../../video{number}"
        )
    return tmp_path


def test_a_camera_is_found_by_a_part_of_its_name_or_id(machine: Path) -> None:
    assert find_device("v4l2:other", machine) == machine / "dev/video4"
    assert find_device("v4l2:Cam_B", machine) == machine / "dev/video2"
    with pytest.raises(CameraError, match=r"several cameras of that name; present: .*video0 .*video2 .*video4"):
        find_device("v4l2:Cam X", machine)
    with pytest.raises(CameraError, match="no camera of that name; present: "):
        find_device("v4l2:Z", machine)
