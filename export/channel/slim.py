"""A bundle with one variant only: what a board fetches that has chosen before."""

from __future__ import annotations

import html
import lzma
from pathlib import Path

import msgspec

from device.bundle import Bundle, file_entry, pack_arrays, write_bundle
from device.contract import Variant


def write_slim(bundle: Bundle, variant: Variant, path: Path) -> None:
    """Write a valid bundle of the same name and version that holds this variant, all golden inputs and its answers.

    The report is replaced by a line: nobody reads it on a board.

    Args:
        bundle: the whole one, open.
        variant: of it.
        path: of the new file.
    """
    whole = bundle.manifest
    inputs, answers = bundle.golden()
    about = f"{whole.name} {whole.version}: {variant.name} only; the report is in the whole bundle"
    files = {
        variant.file.name: bundle.model(variant),
        whole.golden.file.name: pack_arrays({"inputs": inputs, variant.name: answers[variant.name]}),
        whole.report.name: f"<!doctype html><title>{html.escape(about)}</title>".encode(),
    }
    manifest = msgspec.structs.replace(
        whole,
        variants=(variant,),
        golden=msgspec.structs.replace(
            whole.golden, file=file_entry(whole.golden.file.name, files[whole.golden.file.name])
        ),
        report=file_entry(whole.report.name, files[whole.report.name]),
    )
    write_bundle(path, manifest, files)


def pack(path: Path, packed: Path) -> None:
    """Compress a bundle. Golden inputs shrink to about 60 %, int8 weights to about 85 %."""
    with path.open("rb") as source, lzma.open(packed, "wb") as target:
        while piece := source.read(1024 * 1024):
            target.write(piece)
