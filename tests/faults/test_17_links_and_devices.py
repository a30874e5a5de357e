"""Row 17: entries that are links, devices, pipes, sockets or folders; a bundle holds plain files and nothing else."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest
from bundles import command_refusal, entries_of, refusal, reseal, sealed_zip

from device.bundle import open_bundle
from device.errors import BundleError
from device.trust.choose import verifier_for
from tests.fault_board import FaultBoard, snapshot
from tests.releases import require_good

KINDS = {
    "symbolic link": stat.S_IFLNK,
    "character device": stat.S_IFCHR,
    "block device": stat.S_IFBLK,
    "pipe": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "folder": stat.S_IFDIR,
}


def bundle_with_mode(path: Path, name: str, mode: int) -> bytes:
    entries: list[tuple[zipfile.ZipInfo | str, bytes]] = []
    for old, data in entries_of(path):
        info = zipfile.ZipInfo(old)
        info.external_attr = (mode if old == name else stat.S_IFREG | 0o644) << 16
        entries.append((info, data))
    return sealed_zip(entries)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "report.html", "tflite-float32.tflite"])
def test_what_is_no_plain_file_is_refused(colour_bundle: Path, tmp_path: Path, kind: str, name: str) -> None:
    message = refusal(tmp_path / "odd.egb", bundle_with_mode(colour_bundle, name, KINDS[kind] | 0o777))
    assert f"'{name}' is not a plain stored file; copy it again or export it again" in message


def test_plain_files_with_modes_are_welcome(colour_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "modes.egb"
    path.write_bytes(bundle_with_mode(colour_bundle, "report.html", stat.S_IFREG | 0o755))
    with open_bundle(path) as bundle:
        assert bundle.golden()


@pytest.mark.parametrize("bit", [0, 3, 5, 6, 13])
def test_encrypted_or_patched_entries_are_refused(colour_bundle: Path, tmp_path: Path, bit: int) -> None:
    data = bytearray(colour_bundle.read_bytes())
    with zipfile.ZipFile(colour_bundle) as archive:
        central = data.index(b"report.html", archive.start_dir) - 46
        local = archive.getinfo("report.html").header_offset
    for flags in (central + 8, local + 6):
        value = int.from_bytes(data[flags : flags + 2], "little") | 1 << bit
        data[flags : flags + 2] = value.to_bytes(2, "little")
    assert "'report.html' is not a plain stored file" in refusal(tmp_path / "flags.egb", reseal(bytes(data)))


def test_a_hard_link_in_the_manners_of_tar_is_refused(tmp_path: Path, colour_bundle: Path) -> None:
    import tarfile

    os.link(colour_bundle, tmp_path / "linked")
    path = tmp_path / "tar.egb"
    with tarfile.open(path, "w") as archive:
        archive.add(colour_bundle, "manifest.json")
        archive.add(tmp_path / "linked", "report.html")
    assert "not a bundle" in refusal(path, path.read_bytes())


def test_a_pipe_or_device_in_the_place_of_the_bundle_is_refused_and_not_waited_for(
    edgegraft: object, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.egb")
    for name in ("pipe.egb", "/dev/zero"):
        result = edgegraft("run", name, "--camera", "scene:")  # type: ignore[operator]
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        assert name in result.stderr


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    line = command_refusal(tmp_path / "bad.egb", bundle_with_mode(colour_bundle, "report.html", stat.S_IFLNK | 0o777))
    assert "'report.html' is not a plain stored file" in line


@pytest.mark.parametrize("kind", KINDS)
def test_an_installer_refuses_it(fault_board: FaultBoard, colour_bundle: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.egb"
    path.write_bytes(bundle_with_mode(colour_bundle, "tflite-float32.tflite", KINDS[kind] | 0o777))
    message = fault_board.refused(path, 10)
    assert message.startswith(f"{path}: 'tflite-float32.tflite' is not a plain stored file; copy it again")


def test_an_installer_waits_for_no_pipe_and_fills_no_disk_from_a_device(
    fault_board: FaultBoard, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.egb")
    os.symlink("/dev/zero", tmp_path / "zeros.egb")  # noqa: PTH211
    for name in ("pipe.egb", "zeros.egb", "."):
        before = snapshot(fault_board.store.root)
        with pytest.raises(BundleError, match="this is no plain file; copy the bundle here and name the copy"):
            fault_board.install(tmp_path / name)
        assert snapshot(fault_board.store.root) == before
    fault_board.take_good()


def test_an_installer_copies_through_links_so_that_a_release_shares_nothing_with_its_source(
    fault_board: FaultBoard, tmp_path: Path
) -> None:
    os.symlink(fault_board.good, tmp_path / "link.egb")  # noqa: PTH211
    os.link(fault_board.good, tmp_path / "hard.egb")
    assert fault_board.install(tmp_path / "link.egb").version == "3.0.0"
    release = fault_board.store.current()
    assert release is not None
    with (tmp_path / "hard.egb").open("r+b") as stream:  # in place, behind every name that the file has
        stream.write(b"x" * 100)
    assert not release.bundle.is_symlink()
    assert release.bundle.stat().st_nlink == 1
    require_good(fault_board.store, "3.0.0")


@pytest.mark.parametrize("kind", ["pipe", "link to a device", "folder"])
def test_a_signature_that_is_no_plain_file_is_none(fault_board: FaultBoard, tmp_path: Path, kind: str) -> None:
    bundle = tmp_path / "b.egb"
    bundle.write_bytes(fault_board.good.read_bytes())
    beside = tmp_path / "b.egb.sig"
    {
        "pipe": lambda: os.mkfifo(beside),
        "link to a device": lambda: beside.symlink_to("/dev/zero"),
        "folder": beside.mkdir,
    }[kind]()
    verifier = verifier_for(tmp_path / "trust", allow_unsigned=False)
    assert "--allow-unsigned" in fault_board.refused(bundle, 11, verifier=verifier)
