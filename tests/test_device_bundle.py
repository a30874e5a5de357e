"""A bundle gives back what was put in, is never half written, and is read as it was when it was checked."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import CLASSES, colour_manifest, entries_of, golden_inputs, write_colour_bundle

from device.bundle import file_entry, open_bundle, write_bundle
from device.errors import BundleError


def test_everything_written_is_read_back(colour_bundle: Path, colour_models: dict[str, bytes]) -> None:
    manifest, files = colour_manifest(colour_models)
    with open_bundle(colour_bundle) as bundle:
        assert bundle.manifest == manifest
        assert {entry.name: bundle.read(entry) for entry in bundle.manifest.files()} == files
        assert {variant.name: bundle.model(variant) for variant in bundle.manifest.variants} == colour_models


def test_golden_inputs_and_answers_are_read_back(colour_bundle: Path, colour_models: dict[str, bytes]) -> None:
    with open_bundle(colour_bundle) as bundle:
        inputs, answers = bundle.golden()
    assert np.array_equal(inputs, golden_inputs())
    assert set(answers) == set(colour_models)
    for expected in answers.values():
        assert expected.dtype == np.float32
        assert [CLASSES[index] for index in expected.argmax(axis=1)] == [*CLASSES, *CLASSES]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, colour_models: dict[str, bytes]) -> None:
    first = write_colour_bundle(tmp_path / "first.egb", colour_models).read_bytes()
    second = write_colour_bundle(tmp_path / "second.egb", colour_models).read_bytes()
    assert first == second


def test_any_zip_program_can_look_inside(colour_bundle: Path) -> None:
    names = [name for name, _ in entries_of(colour_bundle)]
    assert names[0] == "manifest.json"
    assert names[1:] == sorted(names[1:])
    with zipfile.ZipFile(colour_bundle) as archive:
        assert archive.testzip() is None
        # Stored, not deflated: a board reads a model without unpacking it, and a bomb has nowhere to hide.
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_the_seal_at_the_end_is_the_sha256_of_all_before_it(colour_bundle: Path) -> None:
    data = colour_bundle.read_bytes()
    assert data[-64:].decode() == hashlib.sha256(data[:-81]).hexdigest()


def test_the_old_bundle_stays_when_the_disk_fills_up(tmp_path: Path, colour_models: dict[str, bytes]) -> None:
    path = write_colour_bundle(tmp_path / "colours.egb", colour_models)
    before = path.read_bytes()
    manifest, files = colour_manifest(colour_models, name="newer")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses every byte beyond this, as on a full disk; Python has switched off the signal.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_bundle(path, manifest, files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["colours.egb"]


def test_a_killed_writer_leaves_the_old_bundle_and_the_next_one_succeeds(
    tmp_path: Path, colour_models: dict[str, bytes]
) -> None:
    path = write_colour_bundle(tmp_path / "colours.egb", colour_models)
    before = path.read_bytes()
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from bundles import colour_manifest
from device import bundle
manifest, files = colour_manifest({{"onnx-float32": Path(sys.argv[2]).read_bytes()}}, name="newer")
def audit(event, arguments):
    if event == "os.rename":
        os.kill(os.getpid(), 9)
sys.addaudithook(audit)
bundle.write_bundle(Path(sys.argv[1]), manifest, files)
"""
    model = tmp_path / "model.onnx"
    model.write_bytes(colour_models["onnx-float32"])
    child = subprocess.run([sys.executable, "-c", program, str(path), str(model)], capture_output=True, check=False)
    assert child.returncode == -9, child.stderr
    assert path.read_bytes() == before
    write_bundle(path, *colour_manifest(colour_models, name="newer"))
    with open_bundle(path) as bundle:
        assert bundle.manifest.name == "newer"
    assert not path.with_name("colours.egb.partial").exists()


def test_a_file_replaced_on_disk_changes_nothing_for_who_has_it_open(
    tmp_path: Path, colour_models: dict[str, bytes]
) -> None:
    path = write_colour_bundle(tmp_path / "colours.egb", colour_models)
    other = {name: model + b"\0" for name, model in colour_models.items() if name.startswith("tflite")}
    with open_bundle(path) as bundle:
        write_bundle(path, *colour_manifest(other, name="newer"))
        assert bundle.manifest.name == "colours"
        assert bundle.model(bundle.manifest.variants[0]) == colour_models["tflite-float32"]


def with_equal_crc(data: bytes) -> bytes:
    """Other bytes with the same CRC-32, which is all that the zip format itself would notice."""
    changed = bytes([data[0] ^ 1]) + data[1:-4]
    missing = zlib.crc32(changed + bytes(4)) ^ zlib.crc32(data)
    # A CRC is linear: find the bits of the last four bytes whose effects add up to what is missing.
    basis: dict[int, tuple[int, int]] = {}
    for bit in range(32):
        effect = zlib.crc32(changed + (1 << bit).to_bytes(4, "little")) ^ zlib.crc32(changed + bytes(4))
        bits = 1 << bit
        while effect and effect.bit_length() in basis:
            other, other_bits = basis[effect.bit_length()]
            effect, bits = effect ^ other, bits ^ other_bits
        basis[effect.bit_length()] = (effect, bits)
    tail = 0
    while missing:
        effect, bits = basis[missing.bit_length()]
        missing, tail = missing ^ effect, tail ^ bits
    return changed + tail.to_bytes(4, "little")


@pytest.mark.parametrize("forge", [lambda model: bytes(len(model)), with_equal_crc], ids=["zeros", "same crc"])
def test_bytes_overwritten_in_place_after_the_check_are_noticed(
    tmp_path: Path, colour_models: dict[str, bytes], forge: Callable[[bytes], bytes]
) -> None:
    path = write_colour_bundle(tmp_path / "colours.egb", colour_models)
    model = colour_models["onnx-float32"]
    with open_bundle(path) as bundle:
        place = path.read_bytes().index(model)
        with path.open("r+b") as stream:
            stream.seek(place)
            stream.write(forge(model))
        with pytest.raises(BundleError, match=r"onnx-float32\.onnx .*copy it again or export it again"):
            bundle.model(bundle.manifest.variant("onnx-float32"))


def test_other_bytes_with_the_same_crc_exist() -> None:
    # The test above rests on it.
    data = bytes(range(200))
    assert with_equal_crc(data) != data
    assert zlib.crc32(with_equal_crc(data)) == zlib.crc32(data)


def test_files_that_are_not_the_manifests_are_not_written(tmp_path: Path, colour_models: dict[str, bytes]) -> None:
    manifest, files = colour_manifest(colour_models)
    path = tmp_path / "colours.egb"
    with pytest.raises(BundleError, match=r"are to be written"):
        write_bundle(path, manifest, {**files, "notes.txt": b"x"})
    with pytest.raises(BundleError, match=r"report\.html: size or sha256"):
        write_bundle(path, manifest, {**files, "report.html": b"another"})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_described_by_name_size_and_sha256() -> None:
    entry = file_entry("a.bin", b"abc")
    assert (entry.name, entry.size_bytes) == ("a.bin", 3)
    assert entry.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("make", ["nothing", "folder"])
def test_what_is_no_file_is_answered_with_how_to_make_one(tmp_path: Path, make: str) -> None:
    path = tmp_path / "colours.egb"
    if make == "folder":
        path.mkdir()
    with pytest.raises(BundleError, match=f"no such file; 'edgegraft export RUN --out {path}' makes one"):
        open_bundle(path)


def test_refused_bundles_are_closed_again(tmp_path: Path, colour_models: dict[str, bytes]) -> None:
    path = write_colour_bundle(tmp_path / "colours.egb", colour_models)
    path.write_bytes(path.read_bytes()[:-1])
    open_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the folder is the kernel's
    for _ in range(20):
        with pytest.raises(BundleError):
            open_bundle(path)
    assert len(os.listdir("/proc/self/fd")) <= open_files  # noqa: PTH208
