"""Row 8: without a checksum, or with an empty one, nothing is believed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from bundles import SEAL_BYTES, command_refusal, edited, entries_of, refusal


def zip_with_comment(path: Path, comment: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries_of(path):
            archive.writestr(name, data)
        archive.comment = comment
    return buffer.getvalue()


@pytest.mark.parametrize(
    "comment",
    [b"", b"edgegraft-sha256:", b"x" * SEAL_BYTES, b"edgegraft-sha512:" + b"0" * 64],
    ids=["none", "empty", "another comment", "another algorithm"],
)
def test_a_bundle_without_its_seal_is_refused(colour_bundle: Path, tmp_path: Path, comment: bytes) -> None:
    message = refusal(tmp_path / "unsealed.egb", zip_with_comment(colour_bundle, comment))
    assert "the checksum at its end is missing, the file is cut short or was changed; copy it again" in message


@pytest.mark.parametrize("digest", [b"0" * 64, b" " * 64, b"\0" * 64, b"z" * 64])
def test_a_seal_without_a_digest_is_refused(colour_bundle: Path, tmp_path: Path, digest: bytes) -> None:
    message = refusal(tmp_path / "unsealed.egb", zip_with_comment(colour_bundle, b"edgegraft-sha256:" + digest))
    assert "checksum does not match" in message


@pytest.mark.parametrize("value", [None, "", "0", 0, "0" * 63, "0" * 65, "G" * 64, ["0" * 64]])
@pytest.mark.parametrize("where", ["variant", "golden", "report"])
def test_a_file_without_a_checksum_is_refused(colour_bundle: Path, tmp_path: Path, value: Any, where: str) -> None:
    def edit(tree: dict[str, Any]) -> None:
        entry = {"variant": tree["variants"][0]["file"], "golden": tree["golden"]["file"], "report": tree["report"]}
        entry[where]["sha256"] = value

    assert "sha256`; export the bundle again" in refusal(tmp_path / "unsealed.egb", edited(colour_bundle, edit))


def test_a_file_whose_checksum_is_left_out_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    data = edited(colour_bundle, lambda tree: tree["variants"][0]["file"].pop("sha256"))
    assert "missing required field `sha256`" in refusal(tmp_path / "unsealed.egb", data)


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    line = command_refusal(tmp_path / "bad.egb", zip_with_comment(colour_bundle, b""))
    assert line.endswith("the file is cut short or was changed; copy it again or export it again")
