"""The bundle of an adopted model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.contract import Choice, TensorSpec
from export.adopt.config import RECIPE, Adopted
from export.adopt.report import render_adopted
from export.package import Contents, Proven, write_package
from export.parity import Proof, choose_golden

_GOLDEN_COUNT = 8


@dataclass(frozen=True, slots=True)
class Proved:
    """The adopted file and what it answered.

    Attributes:
        model: the file.
        input, output: the tensors as the board's engine reports them.
        pixels: (n, height, width, 3) uint8 RGB.
        labels: (n,) int64.
        answers: (n, classes) float32 probabilities.
    """

    model: bytes
    input: TensorSpec
    output: TensorSpec
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    answers: NDArray[np.float32]


def write_adopted(adopted: Adopted, proved: Proved) -> None:
    """Write the bundle: one variant, golden inputs from the photos, the report.

    Raises:
        OSError: the file cannot be written.
    """
    golden = choose_golden(proved.labels, proved.answers, _GOLDEN_COUNT)
    proof = Proof(
        measured=adopted.measured,
        decision=adopted.decision,
        probabilities=proved.answers,
        input=proved.input,
        output=proved.output,
    )
    contents = Contents(
        version=adopted.version,
        classes=adopted.classes,
        preprocess=adopted.spec,
        golden=golden,
        inputs=proved.pixels[golden],
        report=render_adopted(adopted),
        training=None,
        choice=Choice(),
    )
    variant = Proven(adopted.variant, adopted.source.engine, RECIPE, proved.model, proof)
    write_package(adopted.bundle, contents, [variant])
