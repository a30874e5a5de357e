"""``edgegraft bundle``: other people's models, in every form that they come in, to bundles that the board runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from foreign_models import (
    CLASSES,
    SIDE,
    Taste,
    draw_photos,
    onnx_classifier,
    tflite_classifier,
    write_labels,
)
from onnx import TensorProto, helper, numpy_helper

from device.bundle import open_bundle
from device.classifier import open_classifier
from device.preprocess import decode
from export.adopt.adopt import adopt_model
from export.adopt.config import AdoptConfig, Adopted
from export.adopt.errors import AdoptError
from export.adopt.interface import OutputKind
from export.adopt.normalisation import PRESETS, parse_preprocess
from export.adopt.report import render_adopted
from pipeline.backbones.base import Normalisation
from pipeline.dataset import Split
from pipeline.errors import PipelineError
from pipeline.evaluate import evaluate

SIGNED, CAFFE, IMAGENET = PRESETS["-1..1"], PRESETS["caffe"], PRESETS["imagenet"]
PER_CLASS = 24

Adopt = Callable[..., Adopted]
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 photos of five colours."""
    return draw_photos(tmp_path_factory.mktemp("colours") / "photos", PER_CLASS)


@pytest.fixture
def adopt(photos: Path, tmp_path: Path) -> Adopt:
    """Adopts the bytes of a model; what is not said is as a user would leave it."""

    def run(model: Any, preprocess: str | None, labels: tuple[str, ...] = CLASSES, size: int = 0) -> Adopted:
        suffix = ".tflite" if isinstance(model, bytes) else ".onnx"
        path = tmp_path / f"theirs{suffix}"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return adopt_model(
            AdoptConfig(
                model=path,
                labels=write_labels(tmp_path / "labels.txt", labels),
                data=photos,
                out=tmp_path / "out" / "My Colours.egb",
                preprocess=None if preprocess is None else parse_preprocess(preprocess),
                size=size,
            )
        )

    return run


def _require_right(adopted: Adopted, kind: OutputKind) -> None:
    assert adopted.kind is kind
    assert adopted.scores.accuracy == 1.0
    assert adopted.measured.agreement == 1.0
    assert adopted.warnings == ()
    with open_bundle(adopted.bundle) as bundle:
        (variant,) = bundle.manifest.variants
        assert variant.input.shape == (1, SIDE, SIDE, 3)
        assert variant.input.dtype == "uint8"
        assert bundle.manifest.classes == CLASSES
        assert bundle.manifest.training is None


@pytest.mark.parametrize(
    ("normalisation", "words", "nchw", "softmax"),
    [
        (IMAGENET, "imagenet", True, False),
        (CAFFE, "caffe", False, True),
        (SIGNED, None, True, True),
        (Normalisation((120.0,) * 3, (60.0,) * 3, bgr=True), "mean=120,scale=60,bgr", True, False),
    ],
)
def test_onnx_in_every_form_becomes_the_contract(
    adopt: Adopt, normalisation: Normalisation, words: str | None, nchw: bool, softmax: bool
) -> None:
    adopted = adopt(onnx_classifier(Taste(normalisation, nchw, softmax)), words, size=SIDE)
    _require_right(adopted, OutputKind.PROBABILITIES if softmax else OutputKind.LOGITS)
    assert adopted.measured.worst_difference < 1e-4
    with open_bundle(adopted.bundle) as bundle:
        proto = onnx.load_model_from_string(bundle.model(bundle.manifest.variants[0]))
    onnx.checker.check_model(proto, full_check=True)
    assert [side.dim_value for side in proto.graph.output[0].type.tensor_type.shape.dim] == [1, len(CLASSES)]


def test_onnx_in_half_floats_answers_in_floats(adopt: Adopt) -> None:
    adopted = adopt(onnx_classifier(Taste(PRESETS["0..1"], softmax=False), dtype=TensorProto.FLOAT16), "0..1")
    with open_bundle(adopted.bundle) as bundle:
        assert bundle.manifest.variants[0].output.dtype == "float32"
    assert adopted.scores.accuracy == 1.0


def test_onnx_whose_first_node_dequantises_bytes_is_quantised_in_front(adopt: Adopt) -> None:
    proto = onnx_classifier(Taste(SIGNED))
    proto.graph.node[0].input[0] = "floats"
    proto.graph.node.insert(0, helper.make_node("DequantizeLinear", ["pixels", "scale", "point"], ["floats"]))
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    proto.graph.initializer.append(numpy_helper.from_array(np.array(1 / 127.5, np.float32), "scale"))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "point"))
    adopted = adopt(proto, "-1..1")
    assert adopted.surgery.in_front == ("uint8 to int8",)
    _require_right(adopted, OutputKind.PROBABILITIES)


@pytest.fixture(scope="module")
def int8_tflite() -> bytes:
    """All integer, int8 in and out, -1..1."""
    return tflite_classifier(Taste(SIGNED), "int8")


def test_tflite_float_gets_its_normalisation_layout_and_softmax(adopt: Adopt) -> None:
    adopted = adopt(tflite_classifier(Taste(CAFFE, nchw=True, softmax=False)), "caffe")
    assert adopted.surgery.in_front == ("swap red and blue", "to float", "normalise", "to NCHW")
    assert adopted.surgery.behind == ("softmax",)
    _require_right(adopted, OutputKind.LOGITS)
    assert adopted.measured.worst_difference < 1e-4


def test_tflite_int8_needs_no_more_than_another_reading_of_its_bytes(adopt: Adopt, int8_tflite: bytes) -> None:
    adopted = adopt(int8_tflite, None)
    assert adopted.surgery.in_front == ("uint8 to int8",)
    assert adopted.measured.worst_difference == 0.0
    _require_right(adopted, OutputKind.PROBABILITIES)


def test_tflite_uint8_logits_of_another_scale_are_normalised_and_quantised(adopt: Adopt) -> None:
    # Its bytes span what its makers' normalisation gives, which is another range for every colour.
    adopted = adopt(tflite_classifier(Taste(IMAGENET, softmax=False), "uint8"), "imagenet")
    assert adopted.surgery.in_front == ("to float", "normalise", "quantise")
    _require_right(adopted, OutputKind.LOGITS)


def test_a_file_that_lacks_nothing_travels_unchanged(adopt: Adopt, photos: Path) -> None:
    model = tflite_classifier(Taste(PRESETS["raw"]), "uint8")
    adopted = adopt(model, "raw")
    assert (adopted.surgery.in_front, adopted.surgery.behind) == ((), ())
    with open_bundle(adopted.bundle) as bundle:
        (variant,) = bundle.manifest.variants
        assert bundle.model(variant) == model
        assert variant.file.sha256 == adopted.source.sha256


def test_the_bundle_runs_on_the_board_and_can_be_measured(adopt: Adopt, photos: Path) -> None:
    adopted = adopt(onnx_classifier(Taste(SIGNED)), "-1..1")
    # Opening proves the golden inputs.
    with open_classifier(adopted.bundle) as classifier:
        picture = decode((photos / "navy" / "3.png").read_bytes())
        assert classifier.classify(picture).answer.top[0][0] == "navy"
    assert evaluate(adopted.bundle, photos, None).results[0].scores.accuracy == 1.0
    with pytest.raises(PipelineError, match="--split all"):
        evaluate(adopted.bundle, photos, Split.TEST)
    with open_bundle(adopted.bundle) as bundle:
        assert bundle.manifest.name == "my-colours"
    assert 40 <= adopted.fitted_on <= 80
    assert adopted.decision.temperature != 1.0


def test_a_wrong_normalisation_is_warned_of_and_the_right_one_is_named(adopt: Adopt) -> None:
    adopted = adopt(onnx_classifier(Taste(SIGNED)), "mean=40,scale=127.5")
    assert adopted.scores.accuracy < 0.6
    assert adopted.trials[0].preprocess == "-1..1"
    assert any("--preprocess=-1..1 is right on 100%" in warning for warning in adopted.warnings)
    assert "--preprocess=-1..1" in render_adopted(adopted).decode()


def test_without_a_word_the_best_way_is_found_and_said(adopt: Adopt) -> None:
    adopted = adopt(onnx_classifier(Taste(CAFFE)), None)
    assert (adopted.preprocess, adopted.scores.accuracy) == ("caffe", 1.0)
    assert "best of those tried" in adopted.preprocess_from


def test_labels_and_normalisation_inside_the_file_are_taken(photos: Path, tmp_path: Path) -> None:
    proto = onnx_classifier(Taste(SIGNED))
    proto.metadata_props.add(key="names", value=json.dumps(list(CLASSES)))
    proto.metadata_props.add(key="Image.NominalPixelRange", value="Normalized_1_1")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    adopted = adopt_model(AdoptConfig(tmp_path / "m.onnx", None, photos, tmp_path / "b.egb"))
    assert adopted.classes == CLASSES
    assert (adopted.preprocess, adopted.preprocess_from) == ("-1..1", "the file's metadata")


def test_one_that_makes_guesses_of_the_answers_names_the_right_one_too(adopt: Adopt) -> None:
    with pytest.raises(AdoptError, match=r"no bundle was written.*--preprocess \(on 64 photos: -1\.\.1 100%"):
        adopt(onnx_classifier(Taste(SIGNED)), "0..1")


def test_a_model_no_better_than_guessing_makes_no_bundle(adopt: Adopt, tmp_path: Path) -> None:
    reversed_labels = (*CLASSES[1:], CLASSES[0])
    with pytest.raises(
        AdoptError, match=r"guessing is right on 20\.0%: nothing is proved.*check the order of --labels"
    ):
        adopt(onnx_classifier(Taste(SIGNED)), "-1..1", labels=reversed_labels)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("background", *CLASSES), r"has 5 outputs, but 6 labels came; .*'background'.*delete that line"),
        (CLASSES[1:], r"has 5 outputs, but 4 labels came; if its first output is 'background'"),
        (CLASSES[2:], r"has 5 outputs, but 3 labels came; give the labels that belong to it"),
    ],
)
def test_another_number_of_labels_says_both_numbers(adopt: Adopt, labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(AdoptError, match=message):
        adopt(onnx_classifier(Taste(SIGNED)), "-1..1", labels=labels)


def test_photos_of_no_class_fit_the_unknown_threshold(photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    (folder / "_unknown").mkdir()
    for number in range(24):
        grey = np.random.default_rng(number).integers(110, 140, (20, 24, 3), np.uint8)
        cv2.imwrite(str(folder / "_unknown" / f"{number}.png"), grey)
    (tmp_path / "m.onnx").write_bytes(onnx_classifier(Taste(SIGNED)).SerializeToString())
    labels = write_labels(tmp_path / "l.txt")
    adopted = adopt_model(AdoptConfig(tmp_path / "m.onnx", labels, folder, tmp_path / "b.egb", SIGNED))
    assert adopted.scores.n == 5 * PER_CLASS
    unknown = evaluate(adopted.bundle, folder, None).results[0].unknown
    assert unknown.unknown_found is not None and unknown.unknown_found.n == 24
    assert unknown.unknown_found.share > 0.9
    assert unknown.right_lost is not None and unknown.right_lost.share < 0.1


def test_photos_in_one_folder_named_by_number_will_do(photos: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for label, name in enumerate(CLASSES):
        for number in range(3):
            shutil.copy(photos / name / f"{number}.png", flat / f"{label:04}_{name}_{number}.png")
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_classifier(Taste(SIGNED)).SerializeToString())
    adopted = adopt_model(AdoptConfig(path, write_labels(tmp_path / "l.txt"), flat, tmp_path / "b.egb", SIGNED))
    assert (adopted.scores.accuracy, adopted.scores.n, adopted.fitted_on) == (1.0, 15, 0)


def test_the_report_escapes_what_comes_from_files(adopt: Adopt) -> None:
    adopted = adopt(onnx_classifier(Taste(SIGNED)), "-1..1")
    page = render_adopted(
        replace(adopted, notes=("<b>x</b>",), left_out={"<u>y</u>": "<s>z</s>"}, preprocess="<i>")
    ).decode()
    for tag in ("<b>x", "<u>", "<s>", "<i>"):
        assert tag not in page
    assert "&lt;u&gt;" in page
    assert adopted.source.sha256 in page
    assert "http" not in page and "src=" not in page


def test_the_command_prints_json_and_takes_a_value_with_a_dash(edgegraft: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(onnx_classifier(Taste(SIGNED)).SerializeToString())
    write_labels(tmp_path / "l.txt")
    words = ("bundle", "m.onnx", "--labels", "l.txt", "--data", photos, "--out", "b.egb", "--preprocess", "-1..1")
    done = edgegraft(*words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["preprocess"]["name"] == "-1..1"
    assert (found["accuracy"], found["n"], found["parity"]["agreement"]) == (1.0, 5 * PER_CLASS, 1.0)
    assert set(found) == {
        *(
            "bundle",
            "signature",
            "seconds",
            "model",
            "variant",
            "preprocess",
            "added",
            "parity",
            "accuracy",
            "low",
            "high",
            "n",
        ),
        *("classes", "classes_with_photos", "expected_calibration_error", "decision", "tried", "notes", "left_out"),
        "warnings",
    }
    shown = edgegraft("run", "b.egb", "--camera", photos / "sky" / "1.png", "--sink", "jsonl:-")
    assert json.loads(shown.stdout)["top"][0][0] == "sky"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("m.txt",), 1, "expected a .tflite or .onnx file"),
        (("m.onnx", "--preprocess", "torchh"), 2, "expected raw, 0..1"),
        (("m.onnx", "--version", "one"), 2, "expected three numbers"),
        (("m.onnx",), 1, "not an ONNX file"),
        (("m.tflite",), 1, "not a TFLite file"),
        (("absent.onnx",), 1, "absent.onnx: no such model file"),
    ],
)
def test_mistakes_are_one_line(
    edgegraft: Run, photos: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    for name in ("m.txt", "m.onnx", "m.tflite"):
        (tmp_path / name).write_bytes(b"\x08\x08nothing of the kind")
    write_labels(tmp_path / "l.txt")
    done = edgegraft("bundle", *words, "--labels", "l.txt", "--data", photos, "--out", "b.egb")
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert message in line
