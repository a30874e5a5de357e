"""Row 17: entries that are links, devices, pipes, sockets or folders; a bundle holds plain files and nothing else."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest
from bundles import command_refusal, entries_of, refusal, reseal, sealed_zip

from device.bundle import open_bundle

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
