"""What a user brings to ``edgegraft bundle`` beside the model: labels, named photos, words for the normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.adopt.errors import AdoptError
from export.adopt.interface import Layout, ModelInput, OutputKind, Quantisation
from export.adopt.labels import Labels, parse_labels
from export.adopt.naming import match_names
from export.adopt.normalisation import PRESETS, name_of, network_input, parse_preprocess, resolve
from export.adopt.plan import judge_output, to_probabilities
from export.adopt.shapes import read_input_shape, read_output_shape
from export.adopt.trials import candidates

HERE = Path("photos")


def test_a_second_crane_is_told_by_a_number_and_said() -> None:
    labels = parse_labels(b"background\r\ncrane\r\ntench\r\ncrane\r\n", "labels.txt")
    assert labels.names == ("background", "crane", "tench", "crane (2)")
    assert labels.notes == ("'crane' is on lines 2 and 4: the class of line 4 is 'crane (2)'",)


def test_a_number_that_is_taken_is_passed_over() -> None:
    assert parse_labels(b"a\na\na (2)\na\n", "x").names == ("a", "a (3)", "a (2)", "a (4)")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"tench\n\ngoldfish\n \n", r"l\.txt: blank on line 2, 4; every line is a class"),
        (b"tench\n\xff\xfe\n", r"l\.txt, line 2: not UTF-8"),
        (b"tench\n", r"l\.txt: 1 label; a classifier needs two"),
        (b"tench\n" + b"x" * 300, r"l\.txt, line 2: a class name has up to 255"),
        (b"tench\nre\x1b[31md\n", r"l\.txt, line 2: .*printable"),
    ],
)
def test_labels_that_would_shift_or_cannot_be_shown_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(AdoptError, match=message):
        parse_labels(data, "l.txt")


IMAGENET = parse_labels(
    b"background\ntench, Tinca tinca\ncock\nhen\ncrane\ncash machine, ATM\ncrane\nlimpkin, Aramus pictus\n", "labels"
)


def test_names_with_numbers_tell_two_cranes_apart() -> None:
    names = [
        "0000_n01440764_tench",
        "0001_n01514668_cock",
        "0002_n01514859_hen",
        "0003_n02012849_crane",
        "0005_n03126707_crane",
    ]
    matched = match_names(names, IMAGENET, HERE)
    assert list(matched.labels.values()) == [1, 2, 3, 4, 6]
    assert "0 is 'tench, Tinca tinca'" in matched.how


def test_folders_may_be_named_by_a_synonym_in_any_case_with_underscores() -> None:
    names = ["Tinca_tinca", "cash_machine", "ATM", "Aramus pictus", "crane (2)", "hen-12", "HEN"]
    assert list(match_names(names, IMAGENET, HERE).labels.values()) == [1, 5, 5, 7, 6, 3, 3]


def test_numbers_alone_count_from_the_first_class_that_is_no_background() -> None:
    assert match_names(["0", "3"], IMAGENET, HERE).labels == {"0": 1, "3": 4}
    digits = Labels(("cat", "dog"), ("cat", "dog"))
    assert match_names(["00", "01"], digits, HERE).labels == {"00": 0, "01": 1}


def test_synsets_are_found_in_the_labels() -> None:
    labels = parse_labels(b"n01440764 tench\nn01443537 goldfish\n", "labels")
    assert match_names(["n01443537", "n01440764"], labels, HERE).labels == {"n01443537": 1, "n01440764": 0}


def test_numbers_that_the_words_contradict_are_not_believed() -> None:
    with pytest.raises(AdoptError, match="no single label fits '7_crane'"):
        match_names(["9_hen", "2_tench", "4_cock", "7_crane"], IMAGENET, HERE)


def test_a_name_without_label_is_told_the_nearest_and_the_way_out() -> None:
    with pytest.raises(AdoptError, match=r"photos: no single label fits 'cok' \(nearest label: 'cock'\).*_unknown"):
        match_names(["cok", "hen"], IMAGENET, HERE)


@pytest.mark.parametrize("text", [*PRESETS, "0..1,bgr", "mean=127,scale=128", "mean=123.7,116.3,103.5,scale=58,bgr"])
def test_words_for_the_normalisation_are_read_as_they_are_written(text: str) -> None:
    assert name_of(parse_preprocess(text)) == text


def test_keras_names_are_understood() -> None:
    assert (parse_preprocess("tf"), parse_preprocess("torch")) == (PRESETS["-1..1"], PRESETS["imagenet"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagenett", "expected raw, 0..1, -1..1, imagenet, caffe, or mean="),
        ("mean=1,2,scale=3", "2 numbers came; give one for all colours, or three"),
        ("scale=0", "must be above 0"),
        ("mean=nan", "expected"),
        ("mean=1,mean=2", "expected"),
        ("", "expected"),
    ],
)
def test_what_is_no_normalisation_says_what_is(text: str, message: str) -> None:
    with pytest.raises(AdoptError, match=message):
        parse_preprocess(text)


def test_numpy_feeds_a_float_model_what_its_makers_would() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0, 0] = (255, 128, 0)
    model = ModelInput("x", Layout.NCHW, 8, 8, "float32", None)
    fed = network_input(pixels, PRESETS["caffe"], model)
    assert (fed.shape, fed.dtype) == ((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(fed[0, :, 0, 0], [0 - 103.939, 128 - 116.779, 255 - 123.68], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "zero_point", "shift"), [("uint8", 127, 0), ("int8", -1, -128)])
def test_bytes_that_stand_for_the_wanted_numbers_are_taken_as_they_are(dtype: str, zero_point: int, shift: int) -> None:
    model = ModelInput("x", Layout.NHWC, 8, 8, dtype, Quantisation(1 / 127.5, zero_point))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for name in ("raw", "-1..1"):
        fed = network_input(pixels, resolve(PRESETS[name], model), model)
        np.testing.assert_array_equal(fed[0].astype(int), pixels.astype(int) + shift)
    # The two are one way, and are tried once.
    assert [name for name, _ in candidates(model, PRESETS["-1..1"])] == [
        "-1..1",
        "-1..1,bgr",
        "0..1",
        "imagenet",
        "caffe",
    ]


def test_probabilities_logits_and_sigmoids_are_told_apart() -> None:
    logits = np.array([[4.0, -1.0, 0.5], [0.0, 2.0, 1.0]], np.float32)
    assert judge_output(logits, quantised=False) is OutputKind.LOGITS
    probabilities = to_probabilities(logits, OutputKind.LOGITS)
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-5)
    assert judge_output(probabilities, quantised=False) is OutputKind.PROBABILITIES
    assert judge_output(np.log(probabilities), quantised=False) is OutputKind.LOGITS
    with pytest.raises(AdoptError, match="a sigmoid, where several classes may hold"):
        judge_output(1 / (1 + np.exp(-logits)), quantised=False)
    with pytest.raises(AdoptError, match="NaN or infinity"):
        judge_output(logits * np.float32(np.nan), quantised=False)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((1, 224, 224, 3), (Layout.NHWC, 224, 224)),
        ((-1, 224, 192, 3), (Layout.NHWC, 224, 192)),
        ((0, 3, 0, 0), (Layout.NCHW, 64, 64)),
    ],
)
def test_shapes_of_pictures_are_understood(shape: tuple[int, ...], found: tuple[Layout, int, int]) -> None:
    assert read_input_shape(shape, 64) == found


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 28, 28, 1), "expected a colour picture"),
        ((1, 150528), "expected a colour picture"),
        ((8, 224, 224, 3), "8 pictures at once"),
        ((1, 3, 0, 0), "say which one with --size"),
        ((1, 3, 9000, 9000), "8 to 4096 a side"),
    ],
)
def test_other_inputs_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(AdoptError, match=message):
        read_input_shape(shape, 0)


def test_shapes_of_answers_are_understood() -> None:
    assert read_output_shape((1, 1000)) == (1000, True)
    assert read_output_shape((0, 1000)) == (1000, True)
    assert read_output_shape((1, 1000, 1, 1)) == (1000, False)
    assert read_output_shape((1000,)) == (1000, False)
    assert read_output_shape((1, 0)) == (0, True)
    with pytest.raises(AdoptError, match="a detector or a feature extractor is no classifier"):
        read_output_shape((1, 7, 7, 1280))
