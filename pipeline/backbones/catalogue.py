"""All backbones as a table. Imports no TensorFlow."""

from __future__ import annotations

from typing import Any

from pipeline.backbones.base import Backbone, Compression, WeightSource
from pipeline.backbones.registry import BACKBONE_NAMES, DEFAULT_BACKBONE, find_backbone

_NOTHING = "-"
_SOURCES = {
    WeightSource.WHEEL: "installed",
    WeightSource.DOWNLOAD: "download",
    WeightSource.FILE: "your file",
    WeightSource.NONE: _NOTHING,
}
_HEADER = ("name", "family", "size", "M param", "M mul-add", "weights", "licence", "compression")
_NUMBERS = (2, 3, 4)
_LEGEND = f"""\
size         default side of the input in pixels; --size takes another, from the least that --json names on
M param      millions of trained parameters without the classification layer
M mul-add    millions of multiply-adds for one picture of that size
weights      from ImageNet: installed (with edgegraft[train]), download (by Keras, where there is a network),
             your file (--weights FILE, the PyTorch state dict), - (none: --weights none trains from scratch)
compression  of float16, int8, qat (quantisation-aware training), pruning, clustering
mobilenetv1 and mobilenetv2 take any other width from 0.1 to 2.0, without ImageNet weights
{DEFAULT_BACKBONE} is the default"""


def backbone_rows() -> list[dict[str, Any]]:
    """One JSON object for each backbone: what the table says, in whole numbers."""
    return [_row(find_backbone(name)) for name in BACKBONE_NAMES]


def backbone_table() -> str:
    """The table for a terminal of 120 columns, with a legend."""
    rows = [_HEADER, *(_cells(find_backbone(name)) for name in BACKBONE_NAMES)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:], "", _LEGEND])


def _row(backbone: Backbone) -> dict[str, Any]:
    return {
        "name": backbone.name,
        "family": backbone.family,
        "size": backbone.default_size,
        "least_size": backbone.least_size,
        "parameters": backbone.parameters,
        "multiply_adds": backbone.multiply_adds,
        "weights": backbone.source.value,
        "licence": backbone.licence,
        "compression": [known.value for known in Compression if known in backbone.compression],
        "blocks": list(backbone.blocks),
    }


def _cells(backbone: Backbone) -> tuple[str, ...]:
    return (
        backbone.name,
        backbone.family,
        str(backbone.default_size),
        _millions(backbone.parameters),
        _millions(backbone.multiply_adds),
        _SOURCES[backbone.source],
        backbone.licence or _NOTHING,
        _compressions(backbone),
    )


def _compressions(backbone: Backbone) -> str:
    lacking = [known.value for known in Compression if known not in backbone.compression]
    return f"all but {', '.join(lacking)}" if lacking else "all"


def _millions(number: int | None) -> str:
    if number is None:
        return _NOTHING
    return f"{number / 1e6:.1f}" if number < 1e8 else f"{number / 1e6:,.0f}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = (
        cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
