"""Row 10: an entry that is missing, or there twice."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from bundles import command_refusal, edited, entries_of, refusal, sealed_zip


@pytest.mark.parametrize("name", ["tflite-float32.tflite", "golden.npz", "report.html"])
def test_a_missing_file_is_named(colour_bundle: Path, tmp_path: Path, name: str) -> None:
    data = sealed_zip([entry for entry in entries_of(colour_bundle) if entry[0] != name])
    message = refusal(tmp_path / "missing.egb", data)
    assert f"its files are not those of its manifest: missing ['{name}']; copy it again or export it" in message


def test_a_bundle_without_a_manifest_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    _, *files = entries_of(colour_bundle)
    assert "manifest.json is not its first entry" in refusal(tmp_path / "missing.egb", sealed_zip(files))


def test_a_manifest_that_does_not_come_first_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    manifest, *files = entries_of(colour_bundle)
    assert "manifest.json is not its first entry" in refusal(tmp_path / "late.egb", sealed_zip([*files, manifest]))


def test_an_empty_archive_is_refused(tmp_path: Path) -> None:
    assert "not a bundle; 'edgegraft export RUN --out FILE.egb' makes one" in refusal(
        tmp_path / "x.egb", sealed_zip([])
    )


@pytest.mark.parametrize("name", ["manifest.json", "tflite-float32.tflite", "report.html"])
def test_an_entry_that_is_there_twice_is_refused_whichever_is_the_good_one(
    colour_bundle: Path, tmp_path: Path, name: str
) -> None:
    entries = entries_of(colour_bundle)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for twice in ([*entries, (name, b"payload")], [entries[0], (name, b"payload"), *entries[1:]]):
            assert f"'{name}' is there twice; copy it again" in refusal(tmp_path / "twice.egb", sealed_zip(twice))


def test_two_variants_that_share_a_file_are_refused(colour_bundle: Path, tmp_path: Path) -> None:
    data = edited(colour_bundle, lambda tree: tree["variants"][1].update(file=tree["variants"][0]["file"]))
    assert "lists a file twice: tflite-float32.tflite" in refusal(tmp_path / "twice.egb", data)


def test_the_command_says_so_in_one_line(colour_bundle: Path, tmp_path: Path) -> None:
    data = sealed_zip(entries_of(colour_bundle)[:-1])
    assert "missing ['tflite-static-int8.tflite']" in command_refusal(tmp_path / "bad.egb", data)
