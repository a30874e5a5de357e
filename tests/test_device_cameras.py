"""One URI gives one camera; what it shows, what it passes over, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bundles import plain_picture

from device.cameras import Frame, FrameSource, open_camera
from device.cameras.fake import FakeCamera
from device.cameras.files import PhotoFiles, VideoFile
from device.contract import ColourOrder
from device.errors import CameraError


def frames_of(camera: FrameSource) -> list[Frame]:
    with camera:
        return list(iter(camera.read, None))


def write_photo(path: Path, colour: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), plain_picture(colour))
    return path


def write_film(path: Path, colours: list[str]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for colour in colours:
        writer.write(plain_picture(colour))
    writer.release()
    return path


def test_every_frame_of_a_real_video_comes_once(shared_data: Path) -> None:
    path = shared_data / "video" / "bottle-detection.mp4"
    count = 0
    with open_camera(str(path)) as camera:
        assert not camera.live
        while (frame := camera.read()) is not None:
            assert frame.index == count
            assert frame.pixels.shape == (360, 640, 3)
            count += 1
    assert count == 1189  # of its index: see shared/data/INDEX.md


def test_a_video_shows_its_pictures_in_order_and_in_colour(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film with spaces.avi", ["red", "green", "blue", "red"])
    frames = frames_of(open_camera(str(path)))
    assert [int(frame.pixels.mean(axis=(0, 1)).argmax()) for frame in frames] == [2, 1, 0, 2]
    assert {(frame.order, frame.name) for frame in frames} == {(ColourOrder.BGR, "film with spaces.avi")}


def test_frames_tell_when_they_came(tmp_path: Path) -> None:
    frames = frames_of(VideoFile(write_film(tmp_path / "film.avi", ["red"] * 3)))
    moments = [frame.captured_monotonic for frame in frames]
    assert moments == sorted(moments)
    assert all(frame.decode_ms > 0 and frame.captured_at > 1e9 for frame in frames)


def test_a_video_that_is_cut_short_ends_early(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mkv", ["red"] * 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(frames_of(VideoFile(path))) < 20


@pytest.mark.parametrize("data", [b"", b"not a film" * 100])
def test_what_is_no_video_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    with pytest.raises(CameraError, match=r"film\.mp4: not a video that can be read; convert it to H\.264 in MP4"):
        open_camera(str(path))


def test_a_video_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"film\.mp4: no such file"):
        VideoFile(tmp_path / "film.mp4")


def test_a_single_photo_is_one_frame(tmp_path: Path) -> None:
    (frame,) = frames_of(open_camera(str(write_photo(tmp_path / "Photo.PNG", "blue"))))
    assert np.array_equal(frame.pixels, plain_picture("blue"))
    assert (frame.index, frame.name, frame.truth) == (0, "Photo.PNG", None)


def test_a_folder_gives_its_photos_by_name_sub_folders_too(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.png", "a/10.png", "ö ü.JPG", "a/.hidden.png", "z.webp"):
        write_photo(tmp_path / name, "red")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "folder.png").mkdir()
    frames = frames_of(open_camera(f"{tmp_path}/"))
    assert [frame.name for frame in frames] == ["a/10.png", "a/2.png", "b.png", "z.webp", "ö ü.JPG"]
    assert [frame.index for frame in frames] == list(range(5))


def test_photos_that_cannot_be_read_are_passed_over_and_kept_with_the_reason(tmp_path: Path) -> None:
    good = [write_photo(tmp_path / f"{number}.png", "red") for number in (0, 3)]
    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / "2.png").write_bytes(good[0].read_bytes()[:-40])
    camera = open_camera(str(tmp_path))
    assert isinstance(camera, PhotoFiles)
    frames = frames_of(camera)
    assert [(frame.name, frame.index) for frame in frames] == [("0.png", 0), ("3.png", 3)]
    assert camera.skipped == {
        str(tmp_path / "1.jpg"): "0 bytes; remove it or copy it again",
        str(tmp_path / "2.png"): "the file is cut short; copy it again",
    }


def test_a_photo_that_vanishes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    for number in range(3):
        write_photo(tmp_path / f"{number}.png", "red")
    camera = open_camera(str(tmp_path))
    (tmp_path / "1.png").unlink()
    assert [frame.name for frame in frames_of(camera)] == ["0.png", "2.png"]


def test_a_folder_of_broken_photos_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    camera = open_camera(str(tmp_path))
    with camera, pytest.raises(CameraError, match=r"none of 2 photo\(s\) can be read; .*a\.jpg: 0 bytes"):
        camera.read()


def test_a_folder_without_photos_is_told_what_photos_are(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(CameraError, match=r"no photos in it; expected files such as \.bmp, \.gif"):
        open_camera(str(tmp_path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere.jpg", "nowhere.jpg: no such file or camera; expected 0, /dev/video0, "),
        ("scene", "scene: no such file or camera"),
        ("", "no such file or camera"),
        ("/dev/video97", "/dev/video97: no such camera; present: "),
        ("97", "/dev/video97: no such camera; present: "),
        ("ftp://host/stream", "cameras of the kind 'ftp:' are not supported; expected 0, "),
        ("scene:?sed=1", "scene:?sed=1: unknown option 'sed'; known are: name, region, roi, rotate, flip, width, "),
        ("scene:?seed", "'seed' is '', expected a whole number"),
        ("scene:?frames=ten", "'frames' is 'ten', expected a whole number"),
        ("scene:?frames=0", "'frames' is '0', expected a whole number above 0"),
        ("scene:?fps=nan", "'fps' is 'nan', expected frames a second, above 0"),
        ("scene:?fps=-3", "'fps' is '-3', expected frames a second, above 0"),
        ("scene:?live=perhaps", "'live' is 'perhaps', expected 1 or 0"),
        (
            "0?seed=1",
            "0?seed=1: unknown option 'seed'; known are: name, region, roi, rotate, flip, width, height, fps, format, ",
        ),
        ("/dev/video0?width=1.5", "'width' is '1.5', expected a number of pixels, 1 to 16384"),
    ],
)
def test_a_uri_that_does_not_work_is_answered_with_what_does(
    uri: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CameraError) as caught:
        open_camera(uri)
    assert message in str(caught.value)


def test_a_device_that_is_no_camera_is_refused_with_the_remedy(tmp_path: Path) -> None:
    from device.cameras.v4l2 import V4l2Camera

    with pytest.raises(CameraError, match="does not open as a camera; another program may be using it"):
        V4l2Camera(Path("/dev/null"))


def test_closing_twice_is_allowed(tmp_path: Path) -> None:
    sources = [
        VideoFile(write_film(tmp_path / "film.avi", ["red"])),
        open_camera(str(write_photo(tmp_path / "a.png", "red"))),
        FakeCamera([]),
    ]
    for camera in sources:
        camera.close()
        camera.close()
