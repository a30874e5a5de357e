"""ONNX properties: the model answers as before, everything comes out again, and hostile files end in one clear line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import CLASSES, SIDE, SPEC, golden_inputs

from device.contract import ColourOrder, Decision, EngineKind, PreprocessSpec
from device.engines.factory import load_engine
from export.metadata.description import RAW_PIXELS, Description, FileMetadata, Normalisation
from export.metadata.errors import MetadataError
from export.metadata.onnx import describe_onnx, read_onnx

VARIANTS = ("onnx-float32", "onnx-static-int8")
DESCRIPTION = Description(
    name="colours",
    version="1.2.3",
    backbone="hand-set",
    recipe="float32",
    classes=CLASSES,
    preprocess=SPEC,
    decision=Decision(temperature=1.3, unknown_threshold=0.6),
    edgegraft_version="0.1.0",
    author="A. Grower",
    licence="Apache-2.0",
)


@pytest.fixture(scope="module")
def plain(colour_models: dict[str, bytes]) -> bytes:
    return colour_models["onnx-float32"]


@pytest.fixture(scope="module")
def described(plain: bytes) -> bytes:
    return describe_onnx(plain, DESCRIPTION)


def _with_properties(model: bytes, **properties: str) -> bytes:
    proto = onnx.ModelProto.FromString(model)
    onnx.helper.set_model_props(proto, properties)
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("name", VARIANTS)
def test_answers_are_the_same_to_the_last_bit(name: str, colour_models: dict[str, bytes]) -> None:
    before_bytes = colour_models[name]
    after_bytes = describe_onnx(before_bytes, DESCRIPTION)
    onnx.checker.check_model(onnx.ModelProto.FromString(after_bytes))
    with (
        load_engine(EngineKind.ONNX, before_bytes) as before,
        load_engine(EngineKind.ONNX, after_bytes) as after,
    ):
        assert (after.input, after.output) == (before.input, before.output)
        pictures = np.random.default_rng(1).integers(0, 256, (20, SIDE, SIDE, 3), np.uint8)
        for pixels in (*golden_inputs(), *pictures):
            assert before.run(pixels).tobytes() == after.run(pixels).tobytes()


def test_what_was_written_is_read(described: bytes) -> None:
    assert read_onnx(described) == FileMetadata(
        name="colours",
        version="1.2.3",
        author="A. Grower",
        licence="Apache-2.0",
        labels=CLASSES,
        normalisation=RAW_PIXELS,
        description=DESCRIPTION,
    )


def test_onnx_runtime_shows_it_under_the_keys_that_tools_look_for(described: bytes) -> None:
    found = onnxruntime.InferenceSession(described).get_modelmeta()
    assert found.producer_name == "edgegraft"
    assert "16 x 16 RGB pixels from 0 to 255 as they are" in found.description
    properties = found.custom_metadata_map
    assert json.loads(properties["names"]) == ["red", "green", "blue"]
    assert properties["Image.BitmapPixelFormat"] == "Rgb8"
    assert properties["Image.NominalPixelRange"] == "NominalRange_0_255"
    assert (properties["model_author"], properties["model_license"]) == ("A. Grower", "Apache-2.0")
    assert json.loads(properties["edgegraft"])["decision"] == {"temperature": 1.3, "unknown_threshold": 0.6}


def test_a_model_that_wants_blue_first_says_so(plain: bytes) -> None:
    spec = PreprocessSpec(height=SIDE, width=SIDE, colour_order=ColourOrder.BGR)
    proto = onnx.ModelProto.FromString(describe_onnx(plain, replace(DESCRIPTION, preprocess=spec)))
    assert {entry.key: entry.value for entry in proto.metadata_props}["Image.BitmapPixelFormat"] == "Bgr8"
    assert "16 x 16 BGR pixels" in proto.doc_string


def test_describing_again_replaces_and_keeps_what_others_wrote(described: bytes) -> None:
    assert describe_onnx(described, DESCRIPTION) == described
    again = describe_onnx(_with_properties(described, task="classify"), DESCRIPTION)
    properties = [(entry.key, entry.value) for entry in onnx.ModelProto.FromString(again).metadata_props]
    assert ("task", "classify") in properties
    assert len(dict(properties)) == len(properties)


def test_class_names_of_every_script_with_quotes_and_line_breaks(plain: bytes) -> None:
    classes = ('Rot, "dunkel"\n(it\'s)', "緑", "blåbær 🫐")
    assert read_onnx(describe_onnx(plain, replace(DESCRIPTION, classes=classes))).labels == classes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            replace(DESCRIPTION, classes=("red", "green")),
            "2 classes for a model with 3 outputs: the labels belong to another model",
        ),
        (
            replace(DESCRIPTION, preprocess=PreprocessSpec(height=SIDE, width=32)),
            r"takes \[1, 16, 16, 3\] of uint8; the preprocessing gives \[1, 16, 32, 3\] of uint8",
        ),
        (replace(DESCRIPTION, classes=("red", "green", "\udcff")), "a name cannot be written into the model file"),
    ],
)
def test_a_description_of_another_model_is_refused(wrong: Description, message: str, plain: bytes) -> None:
    with pytest.raises(MetadataError, match=message):
        describe_onnx(plain, wrong)


def test_a_model_without_properties_says_nothing(plain: bytes) -> None:
    assert read_onnx(plain) == FileMetadata()


@pytest.mark.parametrize(
    "properties",
    [
        {"names": "{0: 'red', 1: 'green', 2: \"blue\"}"},
        {"names": "{2: 'blue', 0: 'red', 1: 'green'}"},
        {"labels": '["red", "green", "blue"]'},
        {"classes": "['red', 'green', 'blue']", "names": ' ["red", "green", "blue"]'},
    ],
    ids=["Ultralytics", "out of order", "labels", "names first"],
)
def test_labels_as_others_write_them_are_read(properties: dict[str, str], plain: bytes) -> None:
    assert read_onnx(_with_properties(plain, **properties)).labels == CLASSES


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("NominalRange_0_255", Normalisation((0.0,), (1.0,))),
        ("Normalized_0_1", Normalisation((0.0,), (255.0,))),
        ("NORMALIZED_1_1", Normalisation((127.5,), (127.5,))),
        ("NominalRange_16_235", None),
    ],
)
def test_the_standards_pixel_ranges_are_read(value: str, expected: Normalisation | None, plain: bytes) -> None:
    assert read_onnx(_with_properties(plain, **{"image.nominalpixelrange": value})).normalisation == expected


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"names": '["red", "green"]'}, "2 labels for 3 outputs: they belong to another model"),
        ({"names": "red, green, blue"}, "class names .* cannot be read .*red, green"),
        ({"names": "{0: 'red', 2: 'blue'}"}, "class names .* cannot be read"),
        ({"names": "{0: 'red', 1: __import__('os').getcwd(), 2: 'x'}"}, "class names .* cannot be read"),
        ({"names": "{0: '\\x'}"}, "class names .* cannot be read"),
        ({"names": "[1, 2, 3]"}, "class names .* cannot be read .*Expected `str`"),
        ({"names": "[" * 100_000}, "class names .* cannot be read"),
        ({"names": "{0:" + "-" * 100_000}, "class names .* cannot be read"),
        ({"names": "[" + '"x",' * 150_000 + '"x"]'}, "150001 class names; at most 100000 are read"),
        ({"names": "{" + "1" * 9_000_000}, "take 9000001 bytes; at most 8388608 are read"),
        ({"edgegraft": "{}"}, "the description by edgegraft in the model file is damaged: .*name"),
        ({"edgegraft": "[" * 100_000}, "the description by edgegraft in the model file is damaged"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_hostile_properties_are_refused_in_one_line(properties: dict[str, str], message: str, plain: bytes) -> None:
    with pytest.raises(MetadataError, match=message) as caught:
        read_onnx(_with_properties(plain, **properties))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x1c\x00\x00\x00TFL3" + b"\0" * 200])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(MetadataError, match="no ONNX model"):
        read_onnx(data)


def test_a_file_cut_anywhere_or_with_flipped_bytes_never_ends_in_another_error(described: bytes) -> None:
    random, refused = np.random.default_rng(8), 0
    for _ in range(1500):
        damaged = bytearray(described[: random.integers(8, len(described) + 1)] if random.random() < 0.2 else described)
        for place in random.integers(0, len(damaged), random.integers(1, 6)):
            damaged[place] = random.choice((0x00, 0x7F, 0xFF, random.integers(256)))
        try:
            read_onnx(bytes(damaged))
        except MetadataError as err:
            assert "\n" not in str(err)
            refused += 1
    assert refused > 100
