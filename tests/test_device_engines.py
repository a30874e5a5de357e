"""Both runtimes answer with probabilities, refuse what does not fit, and prove themselves on the golden inputs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import CLASSES, SIDE, colour_manifest, golden_inputs, onnx_model, write_colour_bundle
from numpy.typing import NDArray

from device.classifier import open_classifier
from device.contract import EngineKind, Manifest
from device.engines import as_probabilities, available, open_engine, prove
from device.engines.factory import default_threads, load_engine
from device.engines.fake import FakeEngine
from device.errors import EngineError

VARIANTS = ("tflite-float32", "tflite-static-int8", "onnx-float32", "onnx-static-int8")


@pytest.fixture(scope="module")
def manifest(colour_models: dict[str, bytes]) -> Manifest:
    return colour_manifest(colour_models)[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_names_the_colour_with_probabilities_that_sum_to_one(
    name: str, manifest: Manifest, colour_models: dict[str, bytes]
) -> None:
    with open_engine(manifest.variant(name), colour_models[name]) as engine:
        for pixels, colour in zip(golden_inputs(), [*CLASSES, *CLASSES], strict=True):
            answer = engine.run(pixels)
            assert (answer.shape, answer.dtype) == ((3,), np.float32)
            assert answer.sum() == pytest.approx(1.0, abs=1e-6)
            assert answer.min() >= 0
            assert CLASSES[int(answer.argmax())] == colour


@pytest.mark.parametrize("name", VARIANTS)
def test_int8_and_float_and_both_runtimes_agree_on_a_doubtful_picture(
    name: str, manifest: Manifest, colour_models: dict[str, bytes]
) -> None:
    pixels = np.full((SIDE, SIDE, 3), (140, 110, 90), np.uint8)
    logits = np.array([140, 110, 90]) / 255 * 8
    expected = np.exp(logits) / np.exp(logits).sum()
    with open_engine(manifest.variant(name), colour_models[name]) as engine:
        assert engine.run(pixels) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((SIDE, SIDE, 3), np.float32),
        np.zeros((SIDE, SIDE, 3), np.int8),
        np.zeros((SIDE + 1, SIDE, 3), np.uint8),
        np.zeros((SIDE, SIDE), np.uint8),
        np.zeros((1, SIDE, SIDE, 3), np.uint8),
    ],
    ids=["float32", "int8", "too tall", "grey", "a batch"],
)
def test_pixels_of_the_wrong_type_or_shape_are_an_error_and_the_engine_lives_on(
    name: str, pixels: NDArray[Any], manifest: Manifest, colour_models: dict[str, bytes]
) -> None:
    with open_engine(manifest.variant(name), colour_models[name]) as engine:
        with pytest.raises(EngineError, match="failed: "):
            engine.run(pixels)
        assert engine.run(golden_inputs()[0]).argmax() == 0


@pytest.mark.parametrize("name", VARIANTS)
def test_answers_stay_right_after_the_next_picture(
    name: str, manifest: Manifest, colour_models: dict[str, bytes]
) -> None:
    # A runtime that hands out its own buffer would overwrite the first answer with the second.
    with open_engine(manifest.variant(name), colour_models[name]) as engine:
        first = engine.run(golden_inputs()[0])
        kept = first.copy()
        engine.run(golden_inputs()[1])
        assert np.array_equal(first, kept)


@pytest.mark.parametrize("kind", EngineKind)
@pytest.mark.parametrize("model", [b"", b"no model at all", b"\x1c\x00\x00\x00TFL3" + b"\0" * 200])
def test_bytes_that_are_no_model_are_refused_in_one_line(kind: EngineKind, model: bytes) -> None:
    with pytest.raises(EngineError, match=r"cannot load the model: .+") as caught:
        load_engine(kind, model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_model_cut_in_half_is_refused(name: str, manifest: Manifest, colour_models: dict[str, bytes]) -> None:
    model = colour_models[name]
    with pytest.raises(EngineError, match="cannot load the model"):
        open_engine(manifest.variant(name), model[: len(model) // 2])


def test_a_model_of_the_other_runtime_is_refused(manifest: Manifest, colour_models: dict[str, bytes]) -> None:
    with pytest.raises(EngineError, match="LiteRT cannot load"):
        open_engine(manifest.variant("tflite-float32"), colour_models["onnx-float32"])
    with pytest.raises(EngineError, match="ONNX Runtime cannot load"):
        open_engine(manifest.variant("onnx-float32"), colour_models["tflite-float32"])


def test_a_model_with_other_sides_than_the_manifest_says_is_refused(manifest: Manifest) -> None:
    variant = manifest.variant("onnx-float32")
    with pytest.raises(EngineError, match=r"input is \(1, 20, 20, 3\) uint8, the manifest says \(1, 16, 16, 3\) uint8"):
        open_engine(variant, onnx_model(shape=(1, 20, 20, 3)))
    with pytest.raises(EngineError, match=r"output is \(1, 4\) float32, the manifest says \(1, 3\) float32"):
        open_engine(variant, onnx_model(classes=4))


def test_a_model_with_another_output_type_than_the_manifest_says_is_refused(
    manifest: Manifest, colour_models: dict[str, bytes]
) -> None:
    variant = manifest.variant("tflite-float32")
    with pytest.raises(EngineError, match=r"output is .* uint8, the manifest says .* float32; export the bundle again"):
        open_engine(variant, colour_models["tflite-static-int8"])


def test_nan_from_the_model_is_an_error_and_no_prediction() -> None:
    with (
        load_engine(EngineKind.ONNX, onnx_model(scale=float("nan"))) as engine,
        pytest.raises(EngineError, match="NaN or infinity"),
    ):
        engine.run(golden_inputs()[0])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([np.nan, 0.5, 0.5], "NaN or infinity"),
        ([np.inf, 0.0, 0.0], "NaN or infinity"),
        ([np.inf, -np.inf, 0.0], "NaN or infinity"),
        ([3.1, -1.2, 0.4], "sums to 2.300, expected probabilities; it must end in a softmax"),
        ([0.0, 0.0, 0.0], "sums to 0.000"),
        ([1.5, -0.5, 0.0], "it must end in a softmax"),
    ],
)
def test_what_is_no_distribution_is_no_answer(raw: list[float], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        as_probabilities(np.array(raw, np.float32))


def test_the_rounding_of_a_quantised_answer_is_put_right() -> None:
    steps = np.array([200, 30, 30, 1, 0, 0], np.float32) / 256
    result = as_probabilities(steps)
    assert result.sum() == pytest.approx(1.0, abs=1e-6)
    assert result[0] == pytest.approx(200 / 261, abs=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_good_variant_is_proved_and_its_answers_handed_back(
    name: str, manifest: Manifest, colour_models: dict[str, bytes]
) -> None:
    inputs = golden_inputs()
    with open_engine(manifest.variant(name), colour_models[name]) as engine:
        expected = np.stack([engine.run(pixels) for pixels in inputs])
        assert np.array_equal(prove(engine, inputs, expected, 0.0), expected)
        assert np.array_equal(prove(engine, inputs, expected + np.float32(0.04), 0.05), expected)


def test_answers_that_are_off_are_not_proved(manifest: Manifest, colour_models: dict[str, bytes]) -> None:
    inputs = golden_inputs()
    with open_engine(manifest.variant("tflite-float32"), colour_models["tflite-float32"]) as engine:
        expected = np.stack([engine.run(pixels) for pixels in inputs])
        expected[4] = np.roll(expected[4], 1)
        with pytest.raises(EngineError, match=r"off by 0\.99\d in probability.*try another variant"):
            prove(engine, inputs, expected, 0.1)


def test_one_and_the_same_answer_to_everything_is_not_proved() -> None:
    inputs = golden_inputs()
    expected = np.full((len(inputs), 3), 1 / 3, np.float32)
    with (
        load_engine(EngineKind.ONNX, onnx_model(scale=0.0)) as engine,
        pytest.raises(EngineError, match="one and the same answer to every golden input"),
    ):
        prove(engine, inputs, expected, 0.1)


def test_expected_answers_that_are_nan_prove_nothing(manifest: Manifest, colour_models: dict[str, bytes]) -> None:
    inputs = golden_inputs()
    expected = np.full((len(inputs), 3), np.nan, np.float32)
    with (
        open_engine(manifest.variant("tflite-float32"), colour_models["tflite-float32"]) as engine,
        pytest.raises(EngineError, match="off by nan"),
    ):
        prove(engine, inputs, expected, 0.1)


def test_a_runtime_that_is_not_installed_is_named_with_the_way_to_get_it(
    board_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    program = """
from device.contract import EngineKind
from device.engines import available
from device.engines.factory import load_engine
from device.errors import EngineError
print(available(EngineKind.LITERT), available(EngineKind.ONNX))
try:
    load_engine(EngineKind.ONNX, b"")
except EngineError as err:
    print(err)
"""
    child = board_python("-c", program)
    assert child.stdout.splitlines() == [
        "True False",
        "onnxruntime is not installed here: pip install 'edgegraft[onnx]'",
    ], child.stderr


def test_a_board_without_onnx_runtime_takes_the_first_variant_that_it_can_run(
    board_python: Callable[..., subprocess.CompletedProcess[str]], colour_models: dict[str, bytes], tmp_path: Path
) -> None:
    onnx_first = {name: colour_models[name] for name in ("onnx-static-int8", "onnx-float32", "tflite-static-int8")}
    path = write_colour_bundle(tmp_path / "colours.egb", onnx_first)
    program = """
import sys
from pathlib import Path
from device.classifier import open_classifier
with open_classifier(Path(sys.argv[1])) as classifier:
    print(classifier.variant.name)
"""
    child = board_python("-c", program, path)
    assert child.stdout == "tflite-static-int8\n", child.stderr
    with open_classifier(path) as classifier:
        assert classifier.variant.name == "onnx-static-int8"


def test_the_fake_engine_passes_the_same_checks_as_a_real_one() -> None:
    engine = FakeEngine(3, (SIDE, SIDE), lambda pixels: np.array([0.2, 0.3, 0.5], np.float32))
    assert engine.input.shape == (1, SIDE, SIDE, 3)
    with engine:
        assert engine.run(golden_inputs()[0]) == pytest.approx([0.2, 0.3, 0.5])
    with pytest.raises(EngineError, match="softmax"):
        FakeEngine(3, (SIDE, SIDE), lambda pixels: np.array([2, 3, 5], np.float32)).run(golden_inputs()[0])


def test_runtimes_of_this_machine_are_found_and_threads_are_few() -> None:
    assert all(available(kind) for kind in EngineKind)
    assert 1 <= default_threads() <= 4
