"""T2: damaged and unusual photos: decoded right, or listed and left out; never a crash."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device.contract import Fit, PreprocessSpec
from pipeline.cache import PixelCache
from pipeline.dataset import Dataset, list_folder
from pipeline.ingest import ingest

MakeFolder = Callable[..., Path]
SPEC = PreprocessSpec(height=32, width=32, fit=Fit.STRETCH)
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 40), (30, 40, 210), (255, 255, 255)


def _quarters(mode: str = "RGB", side: int = 64) -> Image.Image:
    """Red and green above, blue and white below."""
    picture = np.empty((side, side, 3), np.uint8)
    half = side // 2
    picture[:half, :half], picture[:half, half:] = RED, GREEN
    picture[half:, :half], picture[half:, half:] = BLUE, WHITE
    return Image.fromarray(picture).convert(mode)


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _bomb() -> bytes:
    """A PNG of 30,000 x 30,000 black pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, packed, rows = zlib.compressobj(9), [], b"\0" * (3750 + 1)
    packed = [packer.compress(rows * 1000) for _ in range(30)]
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    data = b"".join(packed) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _with_orientation(orientation: int) -> bytes:
    """A JPEG that looks like ``_quarters`` only to who turns it as its EXIF says."""
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = _quarters()
    picture = picture.transpose(turned[orientation]) if orientation in turned else picture
    return _saved(picture, "JPEG", quality=95, subsampling=0, exif=exif)


def _ingest(root: Path, tmp_path: Path) -> tuple[Dataset, PixelCache]:
    cache = PixelCache(tmp_path / "cache", SPEC)
    return ingest(list_folder(root), cache, SPEC), cache


def _decoded(data: bytes, name: str, make_folder: MakeFolder, tmp_path: Path) -> np.ndarray:
    root = make_folder({"a": 1, "b": 1})
    (root / "a" / name).write_bytes(data)
    dataset, cache = _ingest(root, tmp_path)
    assert dataset.left_out == {}
    [photo] = [photo for photo in dataset.photos if photo.path.name == name]
    return np.asarray(cache.pixels()[photo.row])


def _assert_quarters(pixels: np.ndarray, tolerance: int = 12) -> None:
    for (row, column), colour in {(8, 8): RED, (8, 24): GREEN, (24, 8): BLUE, (24, 24): WHITE}.items():
        np.testing.assert_allclose(pixels[row, column].astype(int), colour, atol=tolerance)


DAMAGED = {
    "empty.jpg": (b"", "0 bytes"),
    "half.jpg": (_saved(_quarters(side=256), "JPEG")[:-300], "cut short"),
    "half.png": (_saved(_quarters(side=256), "PNG")[:300], "cut short"),
    "web page.jpg": (b"<!DOCTYPE html><html>404</html>", "not a photo"),
    "film.png": (b"\0\0\0\x20ftypisom" + b"\0" * 500, "not a photo"),
    "zeros.jpg": (b"\0" * 5000, "not a photo"),
    "bomb.png": (_bomb(), "more than 134 megapixels"),
}


# The bomb is left to the command below: OpenCV reads its limit of pixels once, and pytest has loaded it already.
@pytest.mark.parametrize("name", [name for name in DAMAGED if name != "bomb.png"])
def test_a_damaged_photo_is_left_out_with_its_reason(make_folder: MakeFolder, tmp_path: Path, name: str) -> None:
    data, reason = DAMAGED[name]
    root = make_folder({"a": 3, "b": 3})
    (root / "a" / name).write_bytes(data)
    dataset, _ = _ingest(root, tmp_path)
    assert list(dataset.left_out) == [f"a/{name}"]
    assert reason in dataset.left_out[f"a/{name}"]
    assert dataset.counts() == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.jpg", _saved(_quarters(), "JPEG", quality=95, subsampling=0)),
        ("progressive.jpg", _saved(_quarters(), "JPEG", quality=95, subsampling=0, progressive=True)),
        ("plain.png", _saved(_quarters(), "PNG")),
        ("palette.png", _saved(_quarters("P"), "PNG")),
        ("palette.gif", _saved(_quarters("P"), "GIF")),
        ("plain.bmp", _saved(_quarters(), "BMP")),
        ("plain.tif", _saved(_quarters(), "TIFF")),
        ("plain.webp", _saved(_quarters(), "WEBP", lossless=True)),
        ("wrong suffix.jpg", _saved(_quarters(), "PNG")),
        ("huge.png", _saved(_quarters(side=4000), "PNG")),
    ],
)
def test_formats_are_decoded_alike(make_folder: MakeFolder, tmp_path: Path, name: str, data: bytes) -> None:
    _assert_quarters(_decoded(data, name, make_folder, tmp_path))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_upright_whatever_its_exif_orientation(
    make_folder: MakeFolder, tmp_path: Path, orientation: int
) -> None:
    _assert_quarters(_decoded(_with_orientation(orientation), "turned.jpg", make_folder, tmp_path))


def test_cmyk_is_decoded_to_about_its_colours(make_folder: MakeFolder, tmp_path: Path) -> None:
    data = _saved(_quarters("CMYK"), "JPEG", quality=95)
    _assert_quarters(_decoded(data, "cmyk.jpg", make_folder, tmp_path), tolerance=40)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_becomes_three_equal_channels(make_folder: MakeFolder, tmp_path: Path, mode: str) -> None:
    pixels = _decoded(_saved(_quarters(mode), "PNG"), "grey.png", make_folder, tmp_path)
    assert (np.ptp(pixels, axis=-1) == 0).all()
    assert pixels[24, 24, 0] == 255


def test_sixteen_bits_are_scaled_to_eight(make_folder: MakeFolder, tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (32, 1))
    pixels = _decoded(_saved(Image.fromarray(ramp), "PNG"), "deep.png", make_folder, tmp_path)
    np.testing.assert_allclose(pixels[16, :, 0].astype(int), ramp[0] // 257, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_shows_white(make_folder: MakeFolder, tmp_path: Path, kind: str) -> None:
    picture = np.full((64, 64, 4), (220, 30, 30, 255), np.uint8)
    picture[:32, :, 3] = 0
    data = _saved(Image.fromarray(picture), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    pixels = _decoded(data, f"sticker.{kind.lower()}", make_folder, tmp_path)
    np.testing.assert_array_equal(pixels[8, 8], WHITE)
    np.testing.assert_allclose(pixels[24, 24].astype(int), RED, atol=3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(make_folder: MakeFolder, tmp_path: Path, kind: str) -> None:
    later = Image.new("RGB", (64, 64), (0, 0, 0))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = _saved(_quarters(), kind, save_all=True, append_images=[later, later], **options)
    name = f"animated.{kind.lower()}"
    _assert_quarters(_decoded(data, name, make_folder, tmp_path))


def test_the_command_lists_what_it_left_out(make_folder: MakeFolder, tmp_path: Path) -> None:
    """A folder where damage leaves too little: the message counts it and shows an example."""
    root = make_folder({"a": 3, "b": 2})
    for name, (data, _) in DAMAGED.items():
        (root / "b" / name).write_bytes(data)
    command = [sys.executable, "-m", "device.cli", "train", str(root), "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"edgegraft train: {root}: too few usable photos in b (a: 3, b: 2)")
    assert f"{len(DAMAGED)} file(s) were left out, such as b/bomb.png: " in last
    assert "Traceback" not in done.stderr
