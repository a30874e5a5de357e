"""Any photo that people have comes out as a viewer shows it, or is refused in words; then it is cropped and resized."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from device.contract import ColourOrder, Fit, Interpolation, PreprocessSpec
from device.errors import PhotoError
from device.preprocess import decode, preprocess, preprocess_bytes

# Six plain patches, no two alike: every turn and every mirror image of it is another picture.
PATCHES = np.array(
    [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]], [[10, 200, 100], [128, 128, 128]]], np.uint8
)
PICTURE = np.kron(PATCHES, np.ones((16, 16, 1), np.uint8))
NOISE = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)


def encoded(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_shown(data: bytes) -> NDArray[np.int16]:
    """(height, width, 3) RGB of another decoder, Pillow: upright, transparency over white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"), np.int16)


def difference(data: bytes) -> int:
    """The largest difference of any channel between ours and the other decoder's picture."""
    ours, theirs = decode(data)[..., ::-1].astype(np.int16), as_shown(data)
    assert ours.shape == theirs.shape
    return int(np.abs(ours - theirs).max())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_held_in_any_way_comes_out_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PICTURE, "JPEG", exif=exif, quality=95)
    assert difference(data) == 0
    assert decode(data).shape == ((48, 32, 3) if orientation < 5 else (32, 48, 3))


def test_a_printers_cmyk_jpeg_keeps_its_colours() -> None:
    assert difference(encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95)) <= 2


def test_a_16_bit_png_keeps_its_upper_eight_bits() -> None:
    deep = np.random.default_rng(2).integers(0, 65536, (20, 30, 3), np.uint16)
    data = cv2.imencode(".png", deep)[1].tobytes()
    assert np.array_equal(decode(data), deep >> 8)
    grey = cv2.imencode(".png", deep[..., 0])[1].tobytes()
    assert np.array_equal(decode(grey), np.repeat(deep[..., :1] >> 8, 3, axis=2))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_grey_photo_has_three_equal_channels(kind: str) -> None:
    data = encoded(Image.fromarray(PICTURE).convert("L"), kind)
    picture = decode(data)
    assert picture.shape == (48, 32, 3)
    assert np.ptp(picture, axis=2).max() <= 1
    assert difference(data) <= 1


def _with_ramp_of_alpha(mode: str) -> Image.Image:
    image = Image.fromarray(PICTURE).convert(mode)
    image.putalpha(Image.fromarray((np.arange(48 * 32).reshape(48, 32) % 256).astype(np.uint8)))
    return image


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [("RGBA", "PNG", {}), ("LA", "PNG", {}), ("RGBA", "WEBP", {"lossless": True, "exact": True})],
    ids=["png", "grey png", "webp"],
)
def test_what_is_transparent_shows_white(mode: str, kind: str, options: dict[str, Any]) -> None:
    data = encoded(_with_ramp_of_alpha(mode), kind, **options)
    assert difference(data) <= 1
    assert (decode(data)[0, 0] == 255).all()


def test_a_16_bit_png_with_alpha_is_laid_over_white() -> None:
    deep = np.random.default_rng(3).integers(0, 65536, (20, 30, 4), np.uint16)
    alpha = deep[..., 3:] / 65535
    expected = deep[..., :3] / 257 * alpha + 255 * (1 - alpha)
    assert np.abs(decode(cv2.imencode(".png", deep)[1].tobytes()) - expected).max() <= 2


def test_a_palette_png_shows_its_colours_and_its_transparent_one_white() -> None:
    image = Image.fromarray(PICTURE).convert("P", palette=Image.Palette.ADAPTIVE)
    assert difference(encoded(image, "PNG")) == 0
    cut_out = encoded(image, "PNG", transparency=image.getpixel((0, 0)))
    assert difference(cut_out) == 0
    assert (decode(cut_out)[0, 0] == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    colours = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
    frames = [Image.fromarray(np.full((20, 30, 3), colour, np.uint8)) for colour in colours]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert np.abs(decode(data)[..., ::-1].astype(int) - colours[0]).max() <= 4


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "TIFF", "PPM"])
def test_other_kinds_of_files_are_read(kind: str) -> None:
    assert difference(encoded(NOISE, kind, **({"lossless": True} if kind == "WEBP" else {}))) == 0


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("JPEG", {}, "the file is cut short; copy it again"),
        ("JPEG", {"progressive": True}, "the file is cut short; copy it again"),
        ("PNG", {}, "the file is cut short; copy it again"),
        ("WEBP", {}, "not a photo that can be read"),
        ("GIF", {}, "not a photo that can be read"),
        ("BMP", {}, "not a photo that can be read"),
        ("TIFF", {}, "not a photo that can be read"),
    ],
    ids=["jpeg", "progressive jpeg", "png", "webp", "gif", "bmp", "tiff"],
)
def test_a_photo_that_is_cut_short_anywhere_is_refused(kind: str, options: dict[str, Any], message: str) -> None:
    data = encoded(NOISE, kind, **options)
    decode(data)
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        with pytest.raises(PhotoError, match=r"cut short|not a photo") as caught:
            decode(data[: int(len(data) * share)])
    assert message in str(caught.value)


def test_a_jpeg_with_a_thumbnail_is_refused_when_only_the_thumbnail_is_whole() -> None:
    thumbnail = encoded(PICTURE, "JPEG")
    whole = encoded(NOISE, "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]
    assert decode(with_thumbnail).shape == (64, 64, 3)
    with pytest.raises(PhotoError, match="cut short"):
        decode(with_thumbnail[: len(segment) + len(whole) // 2])


def test_a_phones_motion_photo_with_a_film_behind_the_picture_is_read() -> None:
    photo = encoded(NOISE, "JPEG")
    film = b"\x00\x00\x00\x18ftypmp42" + b"\xff\xda film \xff\xd8\xff\xda" * 20
    assert np.array_equal(decode(photo + film), decode(photo))


def test_zero_bytes_are_called_zero_bytes() -> None:
    with pytest.raises(PhotoError, match="0 bytes; remove it or copy it again"):
        decode(b"")


@pytest.mark.parametrize("data", [b"a letter to a friend", b"%PDF-1.7 ...", b"\x00" * 5000, b"\xff\xd8\xff\xd9"])
def test_what_is_no_photo_is_refused(data: bytes) -> None:
    with pytest.raises(PhotoError, match="not a photo that can be read"):
        decode(data)


def test_a_png_with_a_flipped_bit_is_refused() -> None:
    data = bytearray(encoded(NOISE, "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(PhotoError):
        decode(bytes(data))


def _bomb(side: int) -> bytes:
    """A real PNG of side x side white pixels, one bit each: 900 megapixels in about 100 kB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = b"\x00" + b"\xff" * ((side + 7) // 8)
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_without_filling_the_memory(tmp_path: Path) -> None:
    bomb, whole = tmp_path / "bomb.png", tmp_path / "whole.png"
    bomb.write_bytes(_bomb(30_000))
    whole.write_bytes(_bomb(1_000))
    # OpenCV first, as a notebook may have it: its own limit is read while it loads.
    program = """
import cv2
import sys
from pathlib import Path
from device.memory import peak_rss_mb
from device.errors import PhotoError
from device.preprocess import decode
print(decode(Path(sys.argv[2]).read_bytes()).shape)
before = peak_rss_mb()
try:
    decode(Path(sys.argv[1]).read_bytes())
except PhotoError as err:
    print(err)
print(peak_rss_mb() - before)
"""
    child = subprocess.run(
        [sys.executable, "-c", program, str(bomb), str(whole)], capture_output=True, text=True, check=True
    )
    shape, message, grown_mb = child.stdout.splitlines()
    assert shape == "(1000, 1000, 3)"
    assert message == "30000 x 30000 pixels; at most 134 megapixels are read: scale it down"
    assert float(grown_mb) < 50
    assert child.stderr == ""


def spec(height: int = 40, width: int = 40, **fields: Any) -> PreprocessSpec:
    return PreprocessSpec(height=height, width=width, **fields)


def stripes(*colours: tuple[int, int, int], width: int = 40, height: int = 80) -> NDArray[np.uint8]:
    """(height, width * colours, 3) uint8: plain vertical stripes."""
    rows = np.repeat(np.array(colours, np.uint8), width, axis=0)[np.newaxis]
    return np.ascontiguousarray(np.repeat(rows, height, axis=0))


RED, GREEN, BLUE, WHITE = (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)


def test_centre_crop_keeps_the_middle_of_a_wide_and_of_a_tall_picture() -> None:
    wide = stripes(RED, GREEN, GREEN, BLUE)
    middle = np.full((40, 40, 3), GREEN, np.uint8)
    assert np.array_equal(preprocess(wide, spec()), middle)
    assert np.array_equal(preprocess(np.ascontiguousarray(wide.transpose(1, 0, 2)), spec()), middle)


def test_centre_crop_to_an_oblong_keeps_the_aspect_of_things() -> None:
    picture = stripes(RED, GREEN, BLUE, width=40, height=60)
    result = preprocess(picture, spec(30, 60, colour_order=ColourOrder.BGR))
    assert result.shape == (30, 60, 3)
    assert np.array_equal(result, stripes(RED, GREEN, BLUE, width=20, height=30))


def test_letterbox_shows_everything_between_bars_of_the_fill_colour() -> None:
    wide = stripes(RED, GREEN, BLUE, RED)
    result = preprocess(wide, spec(fit=Fit.LETTERBOX, fill=(9, 99, 199)))
    assert (result[:10] == (9, 99, 199)).all()
    assert (result[30:] == (9, 99, 199)).all()
    assert np.array_equal(result[10:30], stripes(RED, GREEN, BLUE, RED, width=10, height=20)[..., ::-1])
    tall = preprocess(np.ascontiguousarray(wide.transpose(1, 0, 2)), spec(fit=Fit.LETTERBOX, fill=(9, 99, 199)))
    assert np.array_equal(tall, result.transpose(1, 0, 2))


def test_stretch_shows_everything_and_fills_everything() -> None:
    result = preprocess(stripes(RED, GREEN, BLUE, RED), spec(fit=Fit.STRETCH, colour_order=ColourOrder.BGR))
    assert np.array_equal(result, stripes(RED, GREEN, BLUE, RED, width=10, height=40))


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("wanted", ColourOrder)
@pytest.mark.parametrize("given", ColourOrder)
def test_red_stays_red_whatever_the_orders(fit: Fit, wanted: ColourOrder, given: ColourOrder) -> None:
    red = {ColourOrder.BGR: (0, 0, 255), ColourOrder.RGB: (255, 0, 0)}
    picture = np.full((30, 60, 3), red[given], np.uint8)
    result = preprocess(picture, spec(fit=fit, colour_order=wanted, fill=red[wanted]), given)
    assert (result == red[wanted]).all()
    assert result.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2), (39, 41), (40, 40), (79, 81), (1000, 40)])
@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("interpolation", Interpolation)
def test_a_plain_picture_of_any_size_stays_plain(
    shape: tuple[int, int], fit: Fit, interpolation: Interpolation
) -> None:
    picture = np.full((*shape, 3), (30, 60, 90), np.uint8)
    result = preprocess(picture, spec(24, 40, fit=fit, interpolation=interpolation, fill=(90, 60, 30)))
    assert result.shape == (24, 40, 3)
    assert (result == (90, 60, 30)).all()


def test_the_callers_picture_is_not_written_to() -> None:
    picture = np.random.default_rng(4).integers(0, 256, (60, 90, 3), np.uint8)
    before = picture.copy()
    for fit in Fit:
        preprocess(picture, spec(fit=fit))
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("sides", [(240, 320), (241, 317), (480, 640), (599, 801), (1499, 2001)])
def test_a_big_and_a_small_version_of_a_photo_come_out_nearly_alike(sides: tuple[int, int]) -> None:
    # Fine dots on soft colours: a resize that picks pixels instead of averaging them shows the dots.
    rows, columns = np.mgrid[0:1499, 0:2001].astype(np.float32)
    soft = np.stack([127 + 90 * np.sin(rows / 200 + k) * np.cos(columns / 250 - k) for k in range(3)], axis=-1)
    big = (soft + np.random.default_rng(5).choice([-30, 30], (*soft.shape[:2], 1))).clip(0, 255).astype(np.uint8)
    reference = cv2.resize(big, (320, 240), interpolation=cv2.INTER_AREA)
    picture = cv2.resize(big, sides[::-1], interpolation=cv2.INTER_AREA)
    wanted = spec(96, 96, colour_order=ColourOrder.BGR)
    apart = np.abs(preprocess(picture, wanted).astype(int) - preprocess(reference, wanted)).mean()
    aliased = np.abs(cv2.resize(big[:, 251:1750], (96, 96)).astype(int) - preprocess(reference, wanted)).mean()
    assert apart < 1.5 < 10 < aliased


def test_a_thing_stays_in_its_place_when_the_factor_is_not_whole() -> None:
    picture = np.zeros((47, 47, 3), np.uint8)
    picture[23, 23] = 255
    result = preprocess(picture, spec(15, 15, interpolation=Interpolation.AREA)).sum(axis=2).astype(float)
    centre = (result * np.arange(15)).sum() / result.sum(), (result.T * np.arange(15)).sum() / result.sum()
    assert centre == pytest.approx((7, 7), abs=0.2)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((0, 40, 3), np.uint8),
        np.zeros((40, 40, 3), np.float32),
    ],
    ids=["grey", "four channels", "empty", "float"],
)
def test_a_picture_of_the_wrong_kind_is_refused_with_its_shape(picture: NDArray[Any]) -> None:
    with pytest.raises(PhotoError, match=re.escape(f"{picture.shape} {picture.dtype}")):
        preprocess(picture, spec())


def test_photo_bytes_take_the_same_way_as_frames() -> None:
    data = encoded(NOISE, "PNG")
    assert np.array_equal(preprocess_bytes(data, spec()), preprocess(decode(data), spec()))
    assert np.array_equal(preprocess_bytes(data, spec(64, 64)), NOISE)
