"""Row 7: a manifest that somebody has edited and sealed again is refused by what it says, not only by its checksum."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import command_refusal, edited, entries_of, refusal, sealed_zip

from device.bundle import open_bundle
from device.errors import BundleError

Edit = Callable[[dict[str, Any]], None]


def test_the_untouched_bundle_sealed_by_the_same_hand_opens(colour_bundle: Path, tmp_path: Path) -> None:
    # Otherwise every refusal below could be the helper's fault.
    path = tmp_path / "same.egb"
    path.write_bytes(edited(colour_bundle, lambda tree: None))
    with open_bundle(path) as bundle:
        assert bundle.manifest.name == "colours"


def test_an_edit_without_a_new_seal_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    data = colour_bundle.read_bytes().replace(b'"unknown_threshold": 0.6', b'"unknown_threshold": 0.1')
    assert data != colour_bundle.read_bytes()
    path = tmp_path / "edited.egb"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="checksum does not match"):
        open_bundle(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tree: tree.update(schema=4), "has schema 4, this edgegraft reads 3; update edgegraft on this machine"),
        (lambda tree: tree.update(exec="rm -rf /"), "unknown field `exec`"),
        (lambda tree: tree["variants"][0]["file"].update(size_bytes=5), "has 1572 bytes, listed are 5"),
        (lambda tree: tree["variants"][1]["file"].update(sha256="0" * 64), f"listed is {'0' * 64}; copy it again"),
        (lambda tree: tree["preprocess"].update(height=10**9), "$.preprocess.height"),
        (lambda tree: tree["golden"].update(tolerance=2), "$.golden.tolerance"),
        (lambda tree: tree["variants"][0]["decision"].update(temperature=-1), "$.variants[0].decision.temperature"),
        (lambda tree: tree.update(name="../../etc/cron.d/x"), "$.name"),
        (lambda tree: tree["variants"][0].update(name="../x"), "$.variants[0].name"),
        (lambda tree: tree["variants"].clear(), "lists no variant"),
    ],
)
def test_an_edited_manifest_is_refused_by_what_it_says(
    colour_bundle: Path, tmp_path: Path, edit: Edit, message: str
) -> None:
    assert message in refusal(tmp_path / "edited.egb", edited(colour_bundle, edit))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"\xff\xfe{}", b'{"schema": 3}', b'{"schema": 3, "name": "\xff"}', b"[" * 200_000]
)
def test_a_manifest_that_is_no_manifest_is_refused(colour_bundle: Path, tmp_path: Path, text: bytes) -> None:
    _, *files = entries_of(colour_bundle)
    message = refusal(tmp_path / "edited.egb", sealed_zip([("manifest.json", text), *files]))
    assert "manifest.json: " in message
    assert message.endswith("export the bundle again")


def test_a_giant_manifest_is_refused_before_it_is_read(colour_bundle: Path, tmp_path: Path) -> None:
    (_, text), *files = entries_of(colour_bundle)
    tree = {**json.loads(text), "created": "x" * (5 * 1024 * 1024)}
    data = sealed_zip([("manifest.json", json.dumps(tree).encode()), *files])
    assert "manifest.json is too large" in refusal(tmp_path / "giant.egb", data)


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    line = command_refusal(tmp_path / "bad.egb", edited(colour_bundle, lambda tree: tree.update(schema=7)))
    assert line.endswith("has schema 7, this edgegraft reads 3; update edgegraft on this machine")
    line = command_refusal(tmp_path / "bad.egb", edited(colour_bundle, lambda tree: tree.pop("classes")))
    assert "missing required field `classes`" in line
