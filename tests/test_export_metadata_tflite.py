"""TFLite metadata: the model answers as before, everything comes out again, and hostile files end in one clear line."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as litert
from bundles import CLASSES, SIDE, SPEC, golden_inputs

from device.contract import Decision, EngineKind, Fit, PreprocessSpec
from device.engines.factory import load_engine
from export.metadata.description import RAW_PIXELS, Description, FileMetadata, Normalisation
from export.metadata.errors import MetadataError
from export.metadata.tflite import DESCRIPTION_FILE, LABELS_FILE, describe_tflite, read_tflite

VARIANTS = ("tflite-float32", "tflite-static-int8")
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
def described(colour_models: dict[str, bytes]) -> bytes:
    return describe_tflite(colour_models["tflite-float32"], DESCRIPTION)


@pytest.mark.parametrize("name", VARIANTS)
def test_answers_are_the_same_to_the_last_bit(name: str, colour_models: dict[str, bytes]) -> None:
    plain = colour_models[name]
    with (
        load_engine(EngineKind.LITERT, plain) as before,
        load_engine(EngineKind.LITERT, describe_tflite(plain, DESCRIPTION)) as after,
    ):
        assert (after.input, after.output) == (before.input, before.output)
        pictures = np.random.default_rng(1).integers(0, 256, (20, SIDE, SIDE, 3), np.uint8)
        for pixels in (*golden_inputs(), *pictures):
            assert before.run(pixels).tobytes() == after.run(pixels).tobytes()


def test_what_was_written_is_read(described: bytes) -> None:
    assert read_tflite(described) == FileMetadata(
        name="colours",
        version="1.2.3",
        author="A. Grower",
        licence="Apache-2.0",
        labels=CLASSES,
        normalisation=RAW_PIXELS,
        description=DESCRIPTION,
    )


def test_preprocessing_that_is_not_the_default_is_read(colour_models: dict[str, bytes]) -> None:
    spec = PreprocessSpec(height=SIDE, width=SIDE, fit=Fit.LETTERBOX, fill=(1, 2, 3))
    found = read_tflite(describe_tflite(colour_models["tflite-float32"], replace(DESCRIPTION, preprocess=spec)))
    assert found.description is not None
    assert found.description.preprocess == spec


def test_any_zip_program_shows_labels_and_description(described: bytes, tmp_path: Path) -> None:
    path = tmp_path / "colours.tflite"
    path.write_bytes(described)
    with zipfile.ZipFile(path) as archive:
        assert archive.read(LABELS_FILE) == b"red\ngreen\nblue\n"
        assert b'"temperature":1.3' in archive.read(DESCRIPTION_FILE)
        # MediaPipe reads them in place.
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_describing_again_replaces_and_equal_input_gives_an_equal_file(described: bytes) -> None:
    assert describe_tflite(described, DESCRIPTION) == described
    again = describe_tflite(described, replace(DESCRIPTION, version="1.2.4"))
    assert len(again) == len(described)
    assert (read_tflite(again).version, read_tflite(again).labels) == ("1.2.4", CLASSES)


def test_weights_lie_at_multiples_of_16_bytes(described: bytes) -> None:
    # TFLite's schema asks for it (force_align); Python's FlatBuffers builder, hence TensorFlow's converter, forgets it.
    model = litert.Model.GetRootAs(described)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    places = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if not buffer.DataIsNone()]
    assert len(places) > 2
    assert all(place % 16 == 0 for place in places)


def test_class_names_of_every_script_with_quotes_and_line_breaks(colour_models: dict[str, bytes]) -> None:
    classes = ('Rot, "dunkel"\n(it\'s)', "緑", "blåbær 🫐")
    found = read_tflite(describe_tflite(colour_models["tflite-float32"], replace(DESCRIPTION, classes=classes)))
    assert found.labels == ('Rot, "dunkel" (it\'s)', "緑", "blåbær 🫐")
    assert found.description is not None
    assert found.description.classes == classes


def test_a_class_name_that_is_no_unicode_is_refused(colour_models: dict[str, bytes]) -> None:
    with pytest.raises(MetadataError, match="a name cannot be written into the model file"):
        describe_tflite(colour_models["tflite-float32"], replace(DESCRIPTION, classes=("red", "green", "blau\udcff")))


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
    ],
)
def test_a_description_of_another_model_is_refused(
    wrong: Description, message: str, colour_models: dict[str, bytes]
) -> None:
    with pytest.raises(MetadataError, match=message):
        describe_tflite(colour_models["tflite-static-int8"], wrong)


def test_a_model_without_metadata_says_nothing(colour_models: dict[str, bytes]) -> None:
    assert read_tflite(colour_models["tflite-float32"]) == FileMetadata()


def test_the_metadata_of_somebody_elses_model_is_read(shared_data: Path) -> None:
    # Written by tflite-support in 2021: ImageNet classes in another zip, pixels normalised outside the graph.
    found = read_tflite((shared_data / "weights" / "tf2_mobilenet_v2_1.0_224_ptq.tflite").read_bytes())
    assert found.labels[:3] == ("background", "tench, Tinca tinca", "goldfish, Carassius auratus")
    assert len(found.labels) == 1001
    assert found.normalisation == Normalisation((127.5,), (127.5,))
    assert found.description is None


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x00\x00\x00ONNX" + b"\0" * 64])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(MetadataError, match=r"no TFLite model: .*TFL3"):
        read_tflite(data)


def _with_files(model: bytes, write: Callable[[zipfile.ZipFile], None]) -> bytes:
    """The model with other files behind it."""
    archive_start = model.index(b"PK\x03\x04")
    buffer = io.BytesIO()
    buffer.write(model[:archive_start])
    with zipfile.ZipFile(buffer, "a") as archive:
        write(archive)
    return buffer.getvalue()


def _bomb(method: int) -> Callable[[zipfile.ZipFile], None]:
    def write(archive: zipfile.ZipFile) -> None:
        with archive.open(_info(LABELS_FILE, method), "w") as stream:
            for _ in range(16):
                stream.write(bytes(1024 * 1024))

    return write


def _info(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = method
    return info


def _labels(data: bytes) -> Callable[[zipfile.ZipFile], None]:
    return lambda archive: archive.writestr(LABELS_FILE, data)


def _crowd(archive: zipfile.ZipFile) -> None:
    for index in range(100):
        archive.writestr(f"{index}.txt", b"")


def _garbled_description(archive: zipfile.ZipFile) -> None:
    archive.writestr(LABELS_FILE, b"red\ngreen\nblue\n")
    archive.writestr(DESCRIPTION_FILE, b'{"name": "colours"}')


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_bomb(zipfile.ZIP_DEFLATED), r"'labels.txt' in the model file is larger than 8388608 bytes"),
        (_bomb(zipfile.ZIP_BZIP2), "packed by a method other than store and deflate"),
        (_bomb(zipfile.ZIP_LZMA), "packed by a method other than store and deflate"),
        (_crowd, "100 files, at most 64 are expected"),
        (lambda archive: archive.writestr("other.txt", b"red"), "names labels in 'labels.txt', which is not in it"),
        (_labels(b"red\ngreen\n"), "2 labels for 3 outputs: they belong to another model"),
        (_labels(b"red\ngr\xff\nblue\n"), "the metadata in the model file is damaged .*utf-8"),
        (_labels(b"\n" * 200_000), "has 200000 lines; at most 100000 are read"),
        (_garbled_description, "the description by edgegraft in the model file is damaged: .*version"),
    ],
    ids=["deflate bomb", "bzip2 bomb", "lzma bomb", "crowd", "absent", "too few", "not UTF-8", "too many", "garbled"],
)
def test_hostile_files_behind_a_model_are_refused_in_one_line(
    write: Callable[[zipfile.ZipFile], None], message: str, described: bytes
) -> None:
    with pytest.raises(MetadataError, match=message) as caught:
        read_tflite(_with_files(described, write))
    assert "\n" not in str(caught.value)


def test_labels_written_on_windows_and_without_a_last_line_break_are_read(described: bytes) -> None:
    assert read_tflite(_with_files(described, _labels(b"red\r\ngreen\r\nblue"))).labels == CLASSES


def test_a_file_cut_anywhere_or_with_flipped_bytes_never_ends_in_another_error(described: bytes) -> None:
    random, refused = np.random.default_rng(8), 0
    for _ in range(1500):
        damaged = bytearray(described[: random.integers(8, len(described) + 1)] if random.random() < 0.2 else described)
        for place in random.integers(8, len(damaged) + 1, random.integers(1, 6)) - 1:
            damaged[place] = random.choice((0x00, 0x7F, 0xFF, random.integers(256)))
        try:
            read_tflite(bytes(damaged))
        except MetadataError as err:
            assert "\n" not in str(err)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("mean", "std"), [((0.0, 1.0), (1.0,)), ((0.0,), ()), ((0.0,), (0.0,)), ((float("nan"),), (1.0,))]
)
def test_a_normalisation_that_cannot_be_done_is_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(MetadataError, match="expected one or three finite values each and no std of zero"):
        Normalisation(mean, std)
