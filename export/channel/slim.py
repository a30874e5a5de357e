"""A bundle with one variant only: what a board fetches that has chosen before."""

from __future__ import annotations

import html
import lzma
from pathlib import Path

import msgspec

from device.bundle import Bundle, file_entry, pack_arrays, write_bundle
from device.contract import Variant

# What an update may cost, as a share of the model's file; metadata comes on top.
_MOST_OF_MODEL = 1.08
# All of them were right on the board before; these show that the file works there.
_LEAST_GOLDEN = 3


def write_packed(bundle: Bundle, variant: Variant, slim: Path, packed: Path) -> None:
    """A slim bundle, and the same compressed. Golden inputs are left out from the end while it costs too much to send.

    Golden inputs shrink to about 60 %, int8 weights to about 87 %; eight inputs of 224x224 weigh 0.7 MB then.

    Args:
        bundle: the whole one, open.
        variant: of it.
        slim, packed: the new files.
    """
    total = len(bundle.golden()[0])
    for count in range(total, min(_LEAST_GOLDEN, total) - 1, -1):
        write_slim(bundle, variant, slim, count)
        _pack(slim, packed)
        if packed.stat().st_size <= _MOST_OF_MODEL * variant.file.size_bytes:
            return


def write_slim(bundle: Bundle, variant: Variant, path: Path, golden: int) -> None:
    """Write a valid bundle of the same name and version that holds this variant and its answers to golden inputs.

    The report is replaced by a line: nobody reads it on a board.

    Args:
        bundle: the whole one, open.
        variant: of it.
        path: of the new file.
        golden: how many of the golden inputs.
    """
    whole = bundle.manifest
    inputs, answers = bundle.golden()
    about = f"{whole.name} {whole.version}: {variant.name} only; the report is in the whole bundle"
    kept = pack_arrays({"inputs": inputs[:golden], variant.name: answers[variant.name][:golden]})
    files = {
        variant.file.name: bundle.model(variant),
        whole.golden.file.name: kept,
        whole.report.name: f"<!doctype html><title>{html.escape(about)}</title>".encode(),
    }
    manifest = msgspec.structs.replace(
        whole,
        variants=(variant,),
        golden=msgspec.structs.replace(whole.golden, file=file_entry(whole.golden.file.name, kept)),
        report=file_entry(whole.report.name, files[whole.report.name]),
    )
    write_bundle(path, manifest, files)


def _pack(path: Path, packed: Path) -> None:
    with path.open("rb") as source, lzma.open(packed, "wb") as target:
        while piece := source.read(1024 * 1024):
            target.write(piece)
