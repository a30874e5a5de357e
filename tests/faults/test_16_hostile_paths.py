"""Row 16: names that lead elsewhere: ``..``, absolute, NUL, back slashes, look-alikes, devices of other systems."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from bundles import command_refusal, edited, entries_of, refusal, reseal, sealed_zip

NAMES = [
    "../evil.sh",
    "a/../../evil.sh",
    "/etc/cron.d/evil",
    "//server/share",
    "..\\evil.bat",
    "C:\\evil.bat",
    "folder/evil.sh",
    "./report.html",
    ".hidden",
    "..",
    "-rf",
    "two words.bin",
    "new\nline.bin",
    "r\u0435port.html",  # a Cyrillic letter
    "report\uff0ehtml",  # a full-width stop
    "..\u2215evil.sh",  # a division slash
    "re\u0301port.html",  # a combining accent
    "\u202elmth.troper",  # written from right to left
    "x" * 200,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_refused_where_the_manifest_does_not_list_it(
    colour_bundle: Path, tmp_path: Path, name: str
) -> None:
    message = refusal(tmp_path / "path.egb", sealed_zip([*entries_of(colour_bundle), (name, b"payload")]))
    assert "unlisted" in message or "is not a plain stored file" in message
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["path.egb"]


@pytest.mark.parametrize("name", [*NAMES, "nul\0.bin", "a/b"])
def test_a_hostile_name_is_refused_where_the_manifest_lists_it(colour_bundle: Path, tmp_path: Path, name: str) -> None:
    (_, text), *files = entries_of(colour_bundle)
    tree = json.loads(text)
    tree["report"]["name"] = name
    entries = [("manifest.json", json.dumps(tree).encode())]
    entries += [(name if old == "report.html" else old, data) for old, data in files]
    message = refusal(tmp_path / "path.egb", sealed_zip(entries))
    assert "at `$.report.name`" in message or "is not a plain stored file" in message


def test_a_name_that_hides_behind_a_nul_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    # zipfile itself stops at the NUL and would take this for report.html.
    entries = [
        (name if name != "report.html" else "report.htmlXevil", data) for name, data in entries_of(colour_bundle)
    ]
    data = reseal(sealed_zip(entries).replace(b"report.htmlXevil", b"report.html\0evil"))
    assert r"'report.html\x00evil' is not a plain stored file" in refusal(tmp_path / "nul.egb", data)


def test_an_entry_without_a_name_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    data = bytearray(colour_bundle.read_bytes())
    with zipfile.ZipFile(colour_bundle) as archive:
        central = data.index(b"report.html", archive.start_dir) - 46
    # The directory calls the eleven letters of the name a comment.
    data[central + 28 : central + 34] = b"\0\0" + b"\0\0" + b"\x0b\0"
    assert "'' is not a plain stored file" in refusal(tmp_path / "nameless.egb", reseal(bytes(data)))


def test_a_folder_entry_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    data = sealed_zip([*entries_of(colour_bundle), (zipfile.ZipInfo("folder/"), b"")])
    assert "'folder/' is not a plain stored file" in refusal(tmp_path / "folder.egb", data)


def test_a_name_that_differs_between_header_and_directory_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    data = bytearray(colour_bundle.read_bytes())
    with zipfile.ZipFile(colour_bundle) as archive:
        place = archive.getinfo("report.html").header_offset + 30
    data[place : place + 3] = b"../"
    message = refusal(tmp_path / "two-names.egb", reseal(bytes(data)))
    assert "report.html cannot be read" in message


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    line = command_refusal(
        tmp_path / "bad.egb", edited(colour_bundle, lambda tree: tree["report"].update(name="../../evil.sh"))
    )
    assert "at `$.report.name`" in line
