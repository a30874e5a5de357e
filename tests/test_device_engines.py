"""Both runtimes answer with probabilities, refuse what does not fit, and prove themselves on the golden inputs."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import CLASSES, SIDE, colour_manifest, golden_inputs, onnx_model, write_colour_bundle
from numpy.typing import NDArray

from device.classifier import open_classifier
from device.contract import EngineKind, Manifest
from device.engines import Accelerator, as_probabilities, available, open_engine, prove
from device.engines.factory import accelerators, default_threads, load_engine
from device.engines.fake import FakeEngine
from device.engines.providers import PROVIDER, providers
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


def test_an_engine_says_where_it_runs_and_with_how_many_threads(colour_models: dict[str, bytes]) -> None:
    for kind, name in ((EngineKind.LITERT, "tflite-float32"), (EngineKind.ONNX, "onnx-float32")):
        assert accelerators(kind, colour_models[name])[-1] is Accelerator.CPU
        with load_engine(kind, colour_models[name], 2) as engine:
            assert (engine.threads, engine.accelerator) == (2, Accelerator.CPU)


@pytest.mark.parametrize("accelerator", [Accelerator.CUDA, Accelerator.TENSORRT])
def test_a_gpu_that_onnx_runtime_was_built_without_is_refused(accelerator: Accelerator) -> None:
    import onnxruntime

    if PROVIDER[accelerator] in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is built with it")
    with pytest.raises(EngineError, match=rf"is built without {PROVIDER[accelerator]}; install onnxruntime-gpu"):
        load_engine(EngineKind.ONNX, onnx_model(), 1, accelerator)


@pytest.mark.parametrize(
    ("kind", "name", "accelerator", "message"),
    [
        (EngineKind.ONNX, "onnx-float32", Accelerator.EDGETPU, "runs models on the CPU or a GPU, not on edgetpu"),
        (EngineKind.LITERT, "tflite-float32", Accelerator.CUDA, "runs models on the CPU or an Edge TPU, not on cuda"),
        (EngineKind.LITERT, "tflite-static-int8", Accelerator.EDGETPU, "compile its int8 variant with edgetpu_compil"),
    ],
)
def test_an_accelerator_that_the_runtime_or_the_file_does_not_know_is_refused(
    kind: EngineKind, name: str, accelerator: Accelerator, message: str, colour_models: dict[str, bytes]
) -> None:
    with pytest.raises(EngineError, match=message):
        load_engine(kind, colour_models[name], 1, accelerator)


def test_a_file_for_the_edge_tpu_is_recognised_and_its_missing_library_named(colour_models: dict[str, bytes]) -> None:
    model = edgetpu_model(colour_models["tflite-static-int8"])
    assert accelerators(EngineKind.LITERT, model) == (Accelerator.EDGETPU,)
    if ctypes.util.find_library("edgetpu"):
        pytest.skip("Coral's library is installed here")
    with pytest.raises(EngineError, match=r"compiled for a Coral Edge TPU, .*libedgetpu\.so\.1.*libedgetpu1-std"):
        load_engine(EngineKind.LITERT, model)
    with pytest.raises(EngineError, match="compiled for a Coral Edge TPU and was to run on the CPU"):
        load_engine(EngineKind.LITERT, model, 1, Accelerator.CPU)


def test_an_edge_tpu_that_does_not_answer_is_told_from_a_missing_library(
    colour_models: dict[str, bytes], tmp_path: Path
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: sudo apt-get install gcc libc6-dev")
    # Coral's library without a device: it is found, and hands out no delegate.
    source = tmp_path / "edgetpu.c"
    source.write_text(
        "void *tflite_plugin_create_delegate(char **k, char **v, unsigned long n, void (*say)(const char *)) "
        '{ say("no device"); return 0; }\nvoid tflite_plugin_destroy_delegate(void *d) {}\n'
    )
    command = [compiler, "-shared", "-fPIC", "-o", tmp_path / "libedgetpu.so.1", source]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (tmp_path / "model.tflite").write_bytes(edgetpu_model(colour_models["tflite-static-int8"]))
    program = (
        "import sys; from pathlib import Path; from device.contract import EngineKind\n"
        "from device.engines.factory import load_engine\n"
        "load_engine(EngineKind.LITERT, Path(sys.argv[1]).read_bytes())"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "model.tflite"],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "EngineError: the Edge TPU does not answer" in child.stderr
    assert "is it plugged in" in child.stderr


def test_tensorrt_computes_in_the_variants_numbers_and_keeps_what_it_builds(tmp_path: Path) -> None:
    offered = {recipe: providers(Accelerator.TENSORRT, recipe, tmp_path) for recipe in ("float32", "float16", "x_int8")}
    flags = {recipe: _tensorrt_options(order) for recipe, order in offered.items()}
    precision = {name: (each["trt_fp16_enable"], each["trt_int8_enable"]) for name, each in flags.items()}
    assert precision == {"float32": ("False", "False"), "float16": ("True", "False"), "x_int8": ("True", "True")}
    for each in flags.values():
        assert (each["trt_engine_cache_enable"], each["trt_timing_cache_enable"]) == ("True", "True")
        assert each["trt_engine_cache_path"] == each["trt_timing_cache_path"] == str(tmp_path)
    assert "trt_engine_cache_enable" not in _tensorrt_options(providers(Accelerator.TENSORRT, "float32", None))
    for order in offered.values():
        names = [each if isinstance(each, str) else each[0] for each in order]
        assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.long
def test_a_gpu_whose_libraries_are_missing_is_an_error_and_no_silent_cpu(
    colour_models: dict[str, bytes], gpu_runtime: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(colour_models["onnx-float32"])
    program = """
import sys
from pathlib import Path
from device.contract import EngineKind
from device.engines import Accelerator
from device.engines.factory import accelerators, load_engine
from device.errors import EngineError

model = Path(sys.argv[1]).read_bytes()
print([each.value for each in accelerators(EngineKind.ONNX, model)])
for accelerator in (Accelerator.CUDA, Accelerator.TENSORRT):
    try:
        load_engine(EngineKind.ONNX, model, 1, accelerator)
    except EngineError as err:
        print(err)
print(load_engine(EngineKind.ONNX, model, 1).accelerator.value)
"""
    child = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "model.onnx"],
        env={**os.environ, "PYTHONPATH": str(gpu_runtime)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    there, cuda, tensorrt, cpu = child.stdout.splitlines()
    assert there == "['tensorrt', 'cuda', 'cpu']"
    for line, name in ((cuda, "CUDAExecutionProvider"), (tensorrt, "TensorrtExecutionProvider")):
        assert f"cannot use {name} and would have gone on with CPUExecutionProvider: lib" in line
        assert "is not here; install the CUDA, cuDNN or TensorRT" in line
    assert cpu == "cpu"
    assert child.stderr == ""


@pytest.fixture(scope="module")
def gpu_runtime() -> Path:
    """ONNX Runtime's build for NVIDIA GPUs, 0.3 GB, kept in the user's cache; CUDA itself is not with it."""
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU here, whose libraries need not be missing")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = Path.home() / ".cache" / "edgegraft-tests" / f"onnxruntime-gpu-python{python}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            install = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--target",
            ]
            whole = Path(scratch) / "whole"
            command = [*install, str(whole), "onnxruntime-gpu>=1.23"]
            child = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if child.returncode:
                pytest.skip(f"onnxruntime-gpu cannot be had: {child.stderr.strip()[-200:]}")
            whole.rename(folder)  # whole or not at all
    return folder


def edgetpu_model(model: bytes) -> bytes:
    """A file that names Coral's operator, as its compiler writes it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    content = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = "edgetpu-custom-op"
    content.operatorCodes.append(code)
    content.subgraphs[0].operators[0].opcodeIndex = len(content.operatorCodes) - 1
    content.subgraphs[0].operators[0].builtinOptions = None
    content.subgraphs[0].operators[0].builtinOptionsType = 0
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensorrt_options(order: list[Any]) -> dict[str, str]:
    return dict(order[0][1])
