"""Row 24: a model that answers the golden inputs with NaN, infinity, always the same, or otherwise than it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import command_refusal, golden_inputs, onnx_model, refusal, replaced, write_colour_bundle
from numpy.typing import NDArray

from device.bundle import open_bundle, pack_arrays
from device.choosing import kept_choice
from device.classifier import open_classifier
from device.errors import EngineError
from tests.fault_board import FaultBoard

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def with_golden(colour_bundle: Path) -> Callable[[Callable[[Arrays], None]], bytes]:
    """The bundle with its golden arrays changed."""

    def change(edit: Callable[[Arrays], None]) -> bytes:
        with open_bundle(colour_bundle) as bundle:
            inputs, answers = bundle.golden()
        arrays: Arrays = {"inputs": inputs, **answers}
        edit(arrays)
        return replaced(colour_bundle, "golden.npz", pack_arrays(arrays))

    return change


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (float("nan"), "NaN or infinity; export it again, or check the memory of this machine"),
        (float("inf"), "NaN or infinity"),
        (0.0, "one and the same answer to every golden input; export it again"),
        (-8.0, "this machine does not compute it rightly: try another variant"),
    ],
)
def test_a_model_with_useless_answers_is_refused_before_the_first_frame(
    colour_bundle: Path, tmp_path: Path, scale: float, message: str
) -> None:
    path = tmp_path / "golden.egb"
    path.write_bytes(replaced(colour_bundle, "onnx-float32.onnx", onnx_model(scale=scale)))
    with pytest.raises(EngineError) as caught:
        open_classifier(path, "onnx-float32")
    assert str(caught.value).startswith(f"{path}, variant 'onnx-float32': ")
    assert message in str(caught.value)
    open_classifier(path, "tflite-static-int8").close()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda arrays: arrays.pop("inputs"), "golden inputs are (0,) float64"),
        (lambda arrays: arrays.update(inputs=arrays["inputs"][:0]), "golden inputs are (0, 16, 16, 3) uint8"),
        (lambda arrays: arrays.update(inputs=arrays["inputs"][:, :8]), "golden inputs are (6, 8, 16, 3) uint8"),
        (lambda arrays: arrays.update(inputs=arrays["inputs"] / 255), "golden inputs are (6, 16, 16, 3) float64"),
        (lambda arrays: arrays.pop("onnx-float32"), "golden answers of 'onnx-float32' are (0,)"),
        (
            lambda arrays: arrays.update({"onnx-float32": arrays["onnx-float32"][:2]}),
            "golden answers of 'onnx-float32' are (2, 3)",
        ),
        (
            lambda arrays: arrays["onnx-float32"].__setitem__((2, 1), np.nan),
            "golden answers of 'onnx-float32' hold NaN or infinity",
        ),
        (
            lambda arrays: arrays["tflite-float32"].fill(np.inf),
            "golden answers of 'tflite-float32' hold NaN or infinity",
        ),
    ],
)
def test_golden_arrays_that_prove_nothing_are_refused(
    with_golden: Callable[..., bytes], tmp_path: Path, edit: Callable[[Arrays], None], message: str
) -> None:
    found = refusal(tmp_path / "golden.egb", with_golden(edit))
    assert message in found
    assert found.endswith("copy it again or export it again")


@pytest.mark.parametrize("data", [b"x", b"PK\x05\x06" + b"\0" * 18, b"\x93NUMPY\x01\x00", pack_arrays({})])
def test_golden_files_that_are_no_arrays_are_refused(colour_bundle: Path, tmp_path: Path, data: bytes) -> None:
    assert "golden inputs" in refusal(tmp_path / "golden.egb", replaced(colour_bundle, "golden.npz", data))


def test_a_single_array_in_the_place_of_many_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, golden_inputs())
    data = replaced(colour_bundle, "golden.npz", buffer.getvalue())
    assert "golden inputs cannot be read" in refusal(tmp_path / "golden.egb", data)


def test_expected_answers_of_another_model_are_noticed(with_golden: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "golden.egb"
    path.write_bytes(with_golden(lambda arrays: arrays.update({"onnx-float32": np.roll(arrays["onnx-float32"], 1, 1)})))
    with pytest.raises(EngineError, match=r"off by 0\.\d+ in probability, 0\.100 would be rounding"):
        open_classifier(path, "onnx-float32")


def test_the_command_says_so_in_one_line(
    colour_bundle: Path, with_golden: Callable[..., bytes], tmp_path: Path
) -> None:
    data = with_golden(lambda arrays: arrays.update({"tflite-float32": arrays["tflite-float32"][::-1].copy()}))
    line = command_refusal(tmp_path / "bad.egb", data, "--variant", "tflite-float32")
    assert "bad.egb, variant 'tflite-float32': on the golden inputs the model is off by" in line


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (float("nan"), "NaN or infinity"),
        (float("inf"), "NaN or infinity"),
        (0.0, "one and the same answer to every golden input; export it again"),
        (-8.0, "this machine does not compute it rightly"),
    ],
)
def test_an_installer_refuses_it(
    fault_board: FaultBoard, colour_models: dict[str, bytes], tmp_path: Path, scale: float, words: str
) -> None:
    whole = write_colour_bundle(tmp_path / "whole.egb", {"onnx-float32": colour_models["onnx-float32"]})
    path = tmp_path / "golden.egb"
    path.write_bytes(replaced(whole, "onnx-float32.onnx", onnx_model(scale=scale)))
    message = fault_board.refused(path, 16)
    assert words in message
    assert message.startswith(f"{path}: no variant gives the right answers here: onnx-float32 on cpu: ")


def test_an_installer_refuses_golden_answers_that_are_not_finite(
    fault_board: FaultBoard, with_golden: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "golden.egb"
    path.write_bytes(with_golden(lambda arrays: arrays["tflite-float32"].fill(np.inf)))
    assert "golden answers of 'tflite-float32' hold NaN or infinity" in fault_board.refused(path, 10)


def test_an_installer_keeps_to_the_variant_that_is_right(
    fault_board: FaultBoard, colour_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "golden.egb"
    path.write_bytes(replaced(colour_bundle, "onnx-float32.onnx", onnx_model(scale=float("nan"))))
    assert fault_board.install(path).changed
    release = fault_board.store.current()
    assert release is not None
    with open_bundle(release.bundle) as bundle:
        chosen = kept_choice(bundle.manifest, release.folder)
    assert chosen is not None
    assert chosen.variant != "onnx-float32"
    assert "NaN" in {one.variant: one.error for one in chosen.tried}["onnx-float32"]
