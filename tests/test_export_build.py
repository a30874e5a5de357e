"""A finished run to a bundle: what the files are, that they are proved, and that nothing unproved ships."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from device.bundle import Bundle, open_bundle
from device.contract import Choice, Decision, EngineKind, Variant
from device.engines import open_engine, prove
from device.preprocess import preprocess_bytes
from device.tryout import Tryout
from export.boards import USUAL, Selection
from export.budget import Budget
from export.build import ExportConfig, export_run
from export.errors import ParityError
from export.gate import Check, Outcome
from export.parity import Proof, Reference
from export.recipe import Form, Recipe, targets
from export.report import render_report
from pipeline.metrics import score
from pipeline.run import ExportPhotos, Run, open_run

# Of zero_point in a table of QuantizationParameters.
_ZERO_POINT_SLOT = 10
NAMES = ("tflite-static-int8", "tflite-float32", "onnx-static-int8", "onnx-float32")


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Iterator[Bundle]:
    with open_bundle(bundle_path) as bundle:
        yield bundle


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return open_run(run_folder)


def test_all_four_variants_are_in_the_bundle_in_the_order_of_preference(bundle: Bundle) -> None:
    assert tuple(variant.name for variant in bundle.manifest.variants) == NAMES


def test_the_bundle_says_what_the_run_said(bundle: Bundle, run: Run) -> None:
    manifest, record = bundle.manifest, run.record
    assert manifest.classes == record.classes
    assert manifest.preprocess == record.preprocess
    assert manifest.training
    assert manifest.training.split == record.split
    assert manifest.training.test_accuracy == record.test.accuracy
    assert (manifest.name, manifest.version) == ("signs", "1.0.0")


def test_the_bundle_tells_a_board_what_training_saw(bundle: Bundle, run: Run) -> None:
    training = bundle.manifest.training
    assert training is not None
    seen = training.statistics
    assert seen is not None
    photos = run.photos().calibration
    assert seen.photos == len(photos)
    luma = [float(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).mean()) / 255 for photo in photos]
    assert seen.brightness.mean == pytest.approx(np.mean(luma), abs=1e-4)
    assert seen.mean_probability > 1 / len(bundle.manifest.classes)


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_takes_bytes_and_answers_with_one_probability_per_class(bundle: Bundle, name: str) -> None:
    variant = bundle.manifest.variant(name)
    assert (variant.input.shape, variant.input.dtype) == ((1, 96, 96, 3), "uint8")
    assert variant.output.shape == (1, len(bundle.manifest.classes))


@pytest.mark.parametrize("name", NAMES)
def test_golden_answers_come_out_again_and_are_right_on_sure_photos(bundle: Bundle, name: str) -> None:
    variant = bundle.manifest.variant(name)
    inputs, expected = bundle.golden()
    assert 1 < len(inputs) <= 8
    with open_engine(variant, bundle.model(variant)) as engine:
        answers = prove(engine, inputs, expected[name], bundle.manifest.golden.tolerance)
    np.testing.assert_allclose(answers, expected[name], atol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_the_measured_accuracy_is_that_of_the_file_in_the_bundle(bundle: Bundle, run: Run, name: str) -> None:
    variant, photos = bundle.manifest.variant(name), run.photos()
    with open_engine(variant, bundle.model(variant)) as engine:
        answers = np.stack([engine.run(pixels) for pixels in photos.validation])
    found = score(answers, photos.labels, bundle.manifest.classes)
    assert found.accuracy == variant.measured.accuracy
    assert found.n == variant.measured.photos
    assert (found.low, found.high) == (variant.measured.accuracy_low, variant.measured.accuracy_high)


def test_float_variants_answer_as_the_trained_model(bundle: Bundle) -> None:
    for name in ("tflite-float32", "onnx-float32"):
        measured = bundle.manifest.variant(name).measured
        assert measured.agreement == 1.0
        assert measured.drop_points == 0.0
        assert measured.worst_difference < 0.001


def test_int8_files_are_hardly_more_than_a_quarter_of_the_float_files(bundle: Bundle) -> None:
    size = {variant.name: variant.file.size_bytes for variant in bundle.manifest.variants}
    for engine in ("tflite", "onnx"):
        assert size[f"{engine}-static-int8"] < 0.3 * size[f"{engine}-float32"]


def test_zero_points_of_channels_are_stored_once(bundle: Bundle) -> None:
    model = bundle.model(bundle.manifest.variant("tflite-static-int8"))
    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    places: dict[int, set[int]] = {}
    for quantised in (graph.Tensors(index).Quantization() for index in range(graph.TensorsLength())):
        if quantised is not None and quantised.ZeroPointLength() > 1:
            table = quantised._tab
            places.setdefault(quantised.ZeroPointLength(), set()).add(table.Vector(table.Offset(_ZERO_POINT_SLOT)))
    assert len(places) > 5
    assert all(len(where) == 1 for where in places.values())


def _tflite(bundle: Bundle, name: str) -> Any:
    interpreter = Interpreter(model_content=bundle.model(bundle.manifest.variant(name)))
    interpreter.allocate_tensors()
    return interpreter


def test_a_pixels_byte_is_the_quantised_value_of_the_int8_tflite_file(bundle: Bundle) -> None:
    interpreter = _tflite(bundle, "tflite-static-int8")
    [details] = interpreter.get_input_details()
    assert details["dtype"] is np.uint8
    assert details["quantization"] == (1.0, 0)
    assert interpreter.get_output_details()[0]["dtype"] is np.uint8


@pytest.mark.parametrize("name", ["tflite-static-int8", "tflite-float32"])
def test_tflite_files_need_no_operators_of_tensorflow(bundle: Bundle, name: str) -> None:
    operators = {operator["op_name"] for operator in _tflite(bundle, name)._get_ops_details()}
    assert "CONV_2D" in operators
    assert not [operator for operator in operators if "Flex" in operator or "CUSTOM" in operator.upper()]


def test_the_int8_tflite_file_computes_in_integers_throughout(bundle: Bundle) -> None:
    dtypes = {np.dtype(tensor["dtype"]).name for tensor in _tflite(bundle, "tflite-static-int8").get_tensor_details()}
    assert dtypes <= {"int8", "uint8", "int32"}


def test_weights_of_the_int8_tflite_file_are_quantised_per_channel(bundle: Bundle) -> None:
    tensors = _tflite(bundle, "tflite-static-int8").get_tensor_details()
    kernels = [tensor for tensor in tensors if len(tensor["shape"]) == 4 and tensor["shape"][0] == 1280]
    assert any(len(tensor["quantization_parameters"]["scales"]) == 1280 for tensor in kernels)


def _onnx(bundle: Bundle, name: str) -> onnx.ModelProto:
    return onnx.load_model_from_string(bundle.model(bundle.manifest.variant(name)))


@pytest.mark.parametrize("name", ["onnx-static-int8", "onnx-float32"])
def test_onnx_files_are_valid_and_of_an_opset_that_boards_run(bundle: Bundle, name: str) -> None:
    model = _onnx(bundle, name)
    onnx.checker.check_model(model)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 17
    # none of onnxruntime's own operators: other runtimes and accelerators read the file too
    assert {node.domain for node in model.graph.node} == {""}


def test_the_int8_onnx_file_is_quantised_and_the_float_one_is_not(bundle: Bundle) -> None:
    quantising = {"QuantizeLinear", "DequantizeLinear"}
    assert not quantising & {node.op_type for node in _onnx(bundle, "onnx-float32").graph.node}
    graph = _onnx(bundle, "onnx-static-int8").graph
    assert quantising <= {node.op_type for node in graph.node}
    producers = {output: node.op_type for node in graph.node for output in node.output}
    kernels = [producers.get(node.input[1]) for node in graph.node if node.op_type == "Conv"]
    assert len(kernels) > 40
    assert set(kernels) == {"DequantizeLinear"}


def test_calibration_photos_come_from_train_and_from_nowhere_else(run: Run, drawn_photos: Path) -> None:
    split_of, marked = {}, 0
    with (run.folder / "splits.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            pixels = preprocess_bytes((drawn_photos / row["file"]).read_bytes(), run.record.preprocess)
            split_of[hashlib.sha256(pixels.tobytes()).hexdigest()] = row["split"]
            marked += row["calibration"] == "yes"
    photos = run.photos()
    digests = {
        name: [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in getattr(photos, name)]
        for name in ("calibration", "validation")
    }
    assert {split_of[digest] for digest in digests["calibration"]} == {"train"}
    assert {split_of[digest] for digest in digests["validation"]} == {"validation"}
    assert len(digests["calibration"]) == marked == min(200, run.record.photos.train)
    assert len(digests["validation"]) == run.record.photos.validation


def test_nothing_is_bundled_when_nothing_passes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "export.html").unlink(missing_ok=True)
    of_training = (folder / "report.html").read_bytes()
    with pytest.raises(ParityError) as caught:
        export_run(ExportConfig(folder, tmp_path / "strict.egb", Selection((Form(Recipe.FLOAT32),)), Budget(-100.0)))
    message = str(caught.value)
    assert "no variant passed, no bundle was written" in message
    assert re.search(r"tflite-float32: accuracy drops by 0\.00 points, --max-drop allows -100\.00", message)
    assert "onnx-float32" in message
    assert "--max-drop" in message
    assert list(tmp_path.iterdir()) == [folder]
    report = (folder / "export.html").read_text()
    assert "stayed out" in report
    assert "-100.00" in report
    assert open_run(folder).record == run.record
    assert (folder / "report.html").read_bytes() == of_training


def test_only_the_recipes_asked_for_are_made(run: Run, tmp_path: Path) -> None:
    result = export_run(
        ExportConfig(
            run.folder, tmp_path / "deep" / "My Signs (2).egb", Selection((Form(Recipe.FLOAT32),)), version="2.3.4"
        )
    )
    assert [outcome.target.name for outcome in result.outcomes] == ["tflite-float32", "onnx-float32"]
    with open_bundle(result.bundle) as bundle:
        assert [variant.name for variant in bundle.manifest.variants] == ["tflite-float32", "onnx-float32"]
        assert (bundle.manifest.name, bundle.manifest.version) == ("my-signs-2", "2.3.4")


def test_the_report_in_the_bundle_lists_every_variant_and_class(bundle: Bundle) -> None:
    page = bundle.read(bundle.manifest.report).decode()
    for name in (*NAMES, *bundle.manifest.classes):
        assert name in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert not re.findall(r'src="(?!data:)', page)


def test_the_report_escapes_names_that_come_from_folders(run: Run, bundle: Bundle) -> None:
    evil, count = "<b>x</b>", len(run.record.classes)
    classes = (evil, *run.record.classes[1:])
    record = msgspec.structs.replace(
        run.record,
        classes=classes,
        photos_per_class=dict.fromkeys(classes, 9),
        data="<i>photos</i>",
        left_out={"<u>y</u>.jpg": "<s>z</s>"},
    )
    answers, labels = np.eye(count, dtype=np.float32), np.arange(count)
    photos = ExportPhotos(*(np.zeros((count, 8, 8, 3), np.uint8),) * 2, labels, np.zeros((0, 8, 8, 3), np.uint8))
    reference = Reference(answers, Decision(), labels, classes)
    outcomes = _outcomes(bundle.manifest.variants, answers)
    page = render_report(record, photos, reference, outcomes, Budget(), Choice(frames_per_second=12.0)).decode()
    for tag in (evil, "<i>photos</i>", "<u>y</u>", "<s>z</s>", "<em>why</em>"):
        assert tag not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "the most accurate that reaches 12 frames a second" in page
    for name in NAMES:
        assert name in page


def _outcomes(variants: tuple[Variant, ...], answers: NDArray[np.float32]) -> list[Outcome]:
    """One of each kind: included, too far off, and not to be made. The first gives other answers than the model."""
    made, first = targets(USUAL.forms), variants[0]
    proof = Proof(first.measured, Decision(), np.roll(answers, 1, axis=1), first.input, first.output)
    tried = Tryout(answers, 1.5, 60.0)
    included = Outcome(made[0], b"model", 5, proof, tried, (Check("drop_points", 0.0, 1.0, True, ""),))
    too_far = Check("drop_points", 2.0, 1.0, False, "<em>why</em>")
    return [
        included,
        replace(included, target=made[1], checks=(too_far,), warnings=("<em>why</em>",)),
        *(Outcome(target, failure="not to be made") for target in made[2:]),
    ]


def test_the_engines_of_the_variants_are_those_of_their_files(bundle: Bundle) -> None:
    for variant in bundle.manifest.variants:
        expected = EngineKind.LITERT if variant.file.name.endswith(".tflite") else EngineKind.ONNX
        assert variant.engine is expected


def test_where_static_int8_misses_the_next_recipe_is_tried_and_the_rule_travels(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "dark"
    shutil.copytree(run.folder, folder)
    with np.load(folder / "photos.npz") as kept:
        arrays = dict(kept)
    # Ranges of grey photos: what a camera sees saturates.
    np.savez(folder / "photos.npz", **{**arrays, "calibration": np.full_like(arrays["calibration"], 127)})
    selection = Selection(
        (Form(Recipe.STATIC_INT8),),
        (Form(Recipe.DYNAMIC_INT8), Form(Recipe.FLOAT16)),
        (EngineKind.LITERT,),
        Choice(frames_per_second=5.0),
    )
    result = export_run(ExportConfig(folder, tmp_path / "dark.egb", selection, Budget(7.0, 50.0)))
    assert [(one.target.name, one.included) for one in result.outcomes] == [
        ("tflite-static-int8", False),
        ("tflite-dynamic-int8", True),
    ]
    with open_bundle(result.bundle) as bundle:
        assert bundle.manifest.choice == Choice(frames_per_second=5.0)
        assert [variant.name for variant in bundle.manifest.variants] == ["tflite-dynamic-int8"]
