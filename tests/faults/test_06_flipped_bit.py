"""Row 6: one flipped bit, at any place, is found before any model is parsed."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from device.bundle import open_bundle
from device.errors import BundleError

Places = Callable[[bytes, zipfile.ZipFile], range]


def header_of_manifest(data: bytes, archive: zipfile.ZipFile) -> range:
    return range(30 + len("manifest.json"))


def manifest(data: bytes, archive: zipfile.ZipFile) -> range:
    return range(43, 43 + archive.infolist()[0].file_size)


def headers_between(data: bytes, archive: zipfile.ZipFile) -> range:
    start = archive.infolist()[2].header_offset
    return range(start, start + 30)


def model(data: bytes, archive: zipfile.ZipFile) -> range:
    info = archive.getinfo("tflite-static-int8.tflite")
    start = info.header_offset + 30 + len(info.filename)
    return range(start, start + info.file_size)


def golden(data: bytes, archive: zipfile.ZipFile) -> range:
    info = archive.getinfo("golden.npz")
    return range(info.header_offset + 40, info.header_offset + 40 + info.file_size)


def central_directory(data: bytes, archive: zipfile.ZipFile) -> range:
    return range(archive.start_dir, len(data) - 81 - 22)


def end_record(data: bytes, archive: zipfile.ZipFile) -> range:
    return range(len(data) - 81 - 22, len(data) - 81)


def comment(data: bytes, archive: zipfile.ZipFile) -> range:
    return range(len(data) - 81, len(data))


@pytest.mark.parametrize(
    "part", [header_of_manifest, manifest, headers_between, model, golden, central_directory, end_record, comment]
)
def test_a_flipped_bit_is_found(part: Places, colour_bundle: Path, tmp_path: Path) -> None:
    data = colour_bundle.read_bytes()
    with zipfile.ZipFile(colour_bundle) as archive:
        places = part(data, archive)
    chance = random.Random(part.__name__)
    path = tmp_path / "flipped.egb"
    for place in chance.sample(places, min(len(places), 90)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(BundleError, match=r"copy it again|'edgegraft export"):
            open_bundle(path)


def test_nothing_of_a_changed_bundle_is_parsed(colour_bundle: Path, tmp_path: Path) -> None:
    # Every part but the seal is replaced by what no parser would take: the answer is the checksum's, not a parser's.
    data = colour_bundle.read_bytes()
    path = tmp_path / "changed.egb"
    path.write_bytes(data[:4] + b"\xff" * (len(data) - 85) + data[-81:])
    with pytest.raises(BundleError, match="the file's checksum does not match, it was damaged or changed"):
        open_bundle(path)


def test_the_command_says_so_in_one_line(edgegraft: Callable[..., object], colour_bundle: Path, tmp_path: Path) -> None:
    data = bytearray(colour_bundle.read_bytes())
    data[len(data) // 2] ^= 0x10
    (tmp_path / "flipped.egb").write_bytes(data)
    result = edgegraft("run", "flipped.egb", "--camera", "scene:")
    assert (result.returncode, result.stdout) == (1, "")  # type: ignore[attr-defined]
    assert result.stderr == (  # type: ignore[attr-defined]
        "edgegraft run: flipped.egb: the file's checksum does not match, it was damaged or changed; "
        "copy it again or export it again\n"
    )
