"""Row 9: a file that the manifest does not list has no business in a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import command_refusal, entries_of, refusal, sealed_zip


@pytest.mark.parametrize("name", ["extra.bin", "report2.html", "Manifest.json", "__init__.py", "tflite-float32.TFLITE"])
def test_an_unlisted_file_is_refused_and_named(colour_bundle: Path, tmp_path: Path, name: str) -> None:
    data = sealed_zip([*entries_of(colour_bundle), (name, b"payload")])
    message = refusal(tmp_path / "extra.egb", data)
    assert f"its files are not those of its manifest: unlisted ['{name}']; copy it again" in message


def test_hundreds_of_files_are_refused_before_the_manifest_is_read(colour_bundle: Path, tmp_path: Path) -> None:
    data = sealed_zip([*entries_of(colour_bundle), *((f"{number}.bin", b"") for number in range(500))])
    assert "507 entries; a bundle has at most 64" in refusal(tmp_path / "extra.egb", data)


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    data = sealed_zip([*entries_of(colour_bundle), ("extra.bin", b"payload")])
    assert "unlisted ['extra.bin']" in command_refusal(tmp_path / "bad.egb", data)
