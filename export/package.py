"""Proven variants to a Bundle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.bundle import file_entry, pack_arrays, write_bundle
from device.contract import SCHEMA_VERSION, Choice, EngineKind, Golden, Manifest, PreprocessSpec, Training, Variant
from export.parity import Proof

REPORT = "report.html"

_GOLDEN_FILE = "golden.npz"
_SUFFIX = {EngineKind.LITERT: "tflite", EngineKind.ONNX: "onnx"}


@dataclass(frozen=True, slots=True)
class Proven:
    """A variant that may travel; ``name`` is unique."""

    name: str
    engine: EngineKind
    recipe: str
    model: bytes
    proof: Proof


@dataclass(frozen=True, slots=True)
class Contents:
    """What a bundle holds beside its variants.

    Attributes:
        version: of the bundle.
        classes: in the order of the outputs.
        preprocess: how a picture becomes the input.
        golden: indices among the photos of the proofs.
        inputs: (n, height, width, 3) uint8 RGB, those photos.
        report: HTML.
        training: where the model comes from; None: from elsewhere.
        choice: the rule by which a board picks a variant.
    """

    version: str
    classes: tuple[str, ...]
    preprocess: PreprocessSpec
    golden: Sequence[int]
    inputs: NDArray[np.uint8]
    report: bytes
    training: Training | None
    choice: Choice


def write_package(path: Path, contents: Contents, proven: Sequence[Proven]) -> None:
    """Write the bundle.

    Args:
        path: of the file; its folder is made.
        contents: all but the variants.
        proven: the variants, in the order of preference.

    Raises:
        OSError: it cannot be written.
    """
    golden: dict[str, NDArray[np.generic]] = {"inputs": contents.inputs}
    golden.update({one.name: one.proof.probabilities[list(contents.golden)] for one in proven})
    variants = tuple(_variant(one) for one in proven)
    files = {variant.file.name: one.model for variant, one in zip(variants, proven, strict=True)}
    files |= {_GOLDEN_FILE: pack_arrays(golden), REPORT: contents.report}
    manifest = Manifest(
        schema=SCHEMA_VERSION,
        name=bundle_name(path),
        version=contents.version,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        classes=contents.classes,
        preprocess=contents.preprocess,
        variants=variants,
        golden=Golden(file=file_entry(_GOLDEN_FILE, files[_GOLDEN_FILE])),
        report=file_entry(REPORT, contents.report),
        training=contents.training,
        choice=contents.choice,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # What is written must be readable: types are checked where they are read.
    write_bundle(path, msgspec.convert(msgspec.to_builtins(manifest), Manifest), files)


def bundle_name(path: Path) -> str:
    """The name that a bundle of this file name has."""
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:64]
    return name or "bundle"


def _variant(one: Proven) -> Variant:
    return Variant(
        name=one.name,
        engine=one.engine,
        recipe=one.recipe,
        file=file_entry(f"{one.name}.{_SUFFIX[one.engine]}", one.model),
        input=one.proof.input,
        output=one.proof.output,
        decision=one.proof.decision,
        measured=one.proof.measured,
    )
