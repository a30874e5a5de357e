"""Row 18: a small file that would fill the memory is refused before it does."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bundles import SIDE, command_refusal, entries_of, refusal, replaced, reseal, sealed_zip

from device.bundle import open_bundle
from device.errors import BundleError, ContractError
from device.trust.base import Verified
from tests.fault_board import FaultBoard

MEGABYTE = 1024 * 1024


def golden_bomb() -> bytes:
    """A compressed ``.npz`` of about 0.5 MB that holds 500 MB."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=np.zeros((500 * MEGABYTE // (SIDE * SIDE * 3), SIDE, SIDE, 3), np.uint8))
    return buffer.getvalue()


def golden_that_lies(shape: str) -> bytes:
    """An ``.npz`` of a few bytes whose array claims that shape."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * ((64 - (11 + len(header)) % 64) % 64) + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inputs.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"abc")
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entries_are_refused_unread(colour_bundle: Path, tmp_path: Path, method: int) -> None:
    data = sealed_zip([*entries_of(colour_bundle), ("zeros.bin", bytes(50 * MEGABYTE))], method)
    assert len(data) < MEGABYTE
    assert "'manifest.json' is not a plain stored file" in refusal(tmp_path / "bomb.egb", data)


@pytest.mark.parametrize("claimed", [2**31, 2**32 - 2])
def test_an_entry_that_claims_to_be_larger_than_it_is_is_refused(
    colour_bundle: Path, tmp_path: Path, claimed: int
) -> None:
    data = bytearray(colour_bundle.read_bytes())
    with zipfile.ZipFile(colour_bundle) as archive:
        central = data.index(b"report.html", archive.start_dir) - 46
    for place in (central + 20, central + 24):  # compressed size, size
        data[place : place + 4] = claimed.to_bytes(4, "little")
    assert f"report.html has {claimed} bytes, listed are " in refusal(tmp_path / "bomb.egb", reseal(bytes(data)))


def test_a_manifest_that_lies_along_stops_at_the_end_of_the_file(colour_bundle: Path, tmp_path: Path) -> None:
    claimed = 2**31
    (name, text), *files = entries_of(colour_bundle)
    tree = json.loads(text)
    tree["report"]["size_bytes"] = claimed
    data = bytearray(sealed_zip([(name, json.dumps(tree).encode()), *files]))
    central = data.rindex(b"report.html") - 46
    for place in (central + 20, central + 24):
        data[place : place + 4] = claimed.to_bytes(4, "little")
    assert "report.html cannot be read" in refusal(tmp_path / "bomb.egb", reseal(bytes(data)))


@pytest.mark.parametrize("shape", ["(10000000000000,)", "(30000000000,)", "(2**70,)", f"({2**70},)", "(-1,)", "'x'"])
def test_golden_inputs_that_claim_to_be_giant_are_refused(colour_bundle: Path, tmp_path: Path, shape: str) -> None:
    data = replaced(colour_bundle, "golden.npz", golden_that_lies(shape))
    assert "golden inputs cannot be read" in refusal(tmp_path / "bomb.egb", data)


def test_a_bomb_inside_the_golden_inputs_is_refused_without_filling_the_memory(
    colour_bundle: Path, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.egb"
    bomb.write_bytes(replaced(colour_bundle, "golden.npz", golden_bomb()))
    assert bomb.stat().st_size < 2 * MEGABYTE
    program = """
import sys
from pathlib import Path
from device.memory import peak_rss_mb
from device.bundle import open_bundle
from device.errors import BundleError
for path in map(Path, sys.argv[1:]):
    with open_bundle(path) as bundle:
        before = peak_rss_mb()
        try:
            bundle.golden()
        except BundleError as err:
            print(err)
        print(peak_rss_mb() - before)
"""
    command = [sys.executable, "-c", program, str(colour_bundle), str(bomb)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    _, message, grown_mb = child.stdout.splitlines()
    assert "the arrays are compressed; a small file could fill the memory" in message
    assert float(grown_mb) < 50


def test_a_pickle_in_the_golden_inputs_is_not_unpickled(colour_bundle: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "evil",))

    buffer = io.BytesIO()
    np.savez(buffer, inputs=np.array([Evil()], dtype=object))
    message = refusal(tmp_path / "pickle.egb", replaced(colour_bundle, "golden.npz", buffer.getvalue()))
    assert "golden inputs cannot be read (Object arrays cannot be loaded" in message
    assert not (tmp_path / "evil").exists()


def test_a_file_above_two_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.egb"
    with path.open("wb") as stream:
        stream.write(b"PK\x03\x04")
        stream.truncate(3 * 1024**3)  # a sparse file: it takes no space
    with pytest.raises(BundleError, match="3221225472 bytes; a bundle has at most 2147483648"):
        open_bundle(path)


def test_damaged_headers_under_a_valid_seal_never_crash_the_reader(colour_bundle: Path, tmp_path: Path) -> None:
    data = colour_bundle.read_bytes()
    with zipfile.ZipFile(colour_bundle) as archive:
        places = [info.header_offset + place for info in archive.infolist() for place in range(46)]
        places += range(archive.start_dir, len(data) - 81)
    chance = random.Random(18)
    path = tmp_path / "odd.egb"
    refused = 0
    for _ in range(1500):
        odd = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 4))):
            odd[chance.choice(places)] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        path.write_bytes(reseal(bytes(odd)))
        try:
            with open_bundle(path) as bundle:
                bundle.golden()
        except (BundleError, ContractError):
            refused += 1
    assert refused > 700  # the others changed what nobody reads, such as a time stamp


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    data = sealed_zip([*entries_of(colour_bundle), ("zeros.bin", bytes(MEGABYTE))], zipfile.ZIP_DEFLATED)
    assert "is not a plain stored file" in command_refusal(tmp_path / "bad.egb", data)
    line = command_refusal(
        tmp_path / "bad.egb", replaced(colour_bundle, "golden.npz", golden_that_lies("(30000000000,)"))
    )
    assert "golden inputs cannot be read" in line


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_an_installer_refuses_it(fault_board: FaultBoard, colour_bundle: Path, tmp_path: Path, method: int) -> None:
    path = tmp_path / "bomb.egb"
    path.write_bytes(sealed_zip([*entries_of(colour_bundle), ("zeros.bin", bytes(50 * MEGABYTE))], method))
    assert "'manifest.json' is not a plain stored file" in fault_board.refused(path, 10)


def test_an_installer_refuses_a_bomb_inside_the_golden_inputs(
    fault_board: FaultBoard, colour_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.egb"
    path.write_bytes(replaced(colour_bundle, "golden.npz", golden_bomb()))
    assert "compressed; a small file could fill the memory" in fault_board.refused(path, 10)


def test_an_installer_copies_nothing_of_a_file_above_two_gigabytes(fault_board: FaultBoard, tmp_path: Path) -> None:
    path = tmp_path / "giant.egb"
    path.write_bytes(fault_board.good.read_bytes()[:1000])
    os.truncate(path, 3 * 1024**3)  # a hole: three gigabytes that take no room here, and would in a copy

    class Nobody:
        def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
            raise AssertionError(f"{size_bytes} bytes were copied")

    message = fault_board.refused(path, 10, verifier=Nobody())
    assert f"{path}: 3221225472 bytes; a bundle has at most 2147483648" in message
