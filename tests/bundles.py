"""A small real bundle, made in seconds, and the tools to damage one.

The model answers with the colour of a picture: it is small enough to be built from hand-set weights, and its answers
are known beforehand, so that a test can tell a right one from a wrong one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from device.bundle import file_entry, open_bundle, pack_arrays, write_bundle
from device.contract import (
    SCHEMA_VERSION,
    Decision,
    EngineKind,
    Golden,
    Manifest,
    Measured,
    PreprocessSpec,
    SplitRule,
    TensorSpec,
    Training,
    Variant,
)
from device.engines.factory import load_engine
from device.errors import DeviceError

# In the order of the channels of an RGB picture: a swap of red and blue anywhere gives another answer.
CLASSES = ("red", "green", "blue")
SIDE = 16
SPEC = PreprocessSpec(height=SIDE, width=SIDE)
SEAL_BYTES = len(b"edgegraft-sha256:") + 64

_SHARPNESS = 8.0


def plain_picture(colour: str, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 BGR in one of ``CLASSES``; ``grey`` is none of them."""
    bgr = {"red": (0, 0, 250), "green": (0, 250, 0), "blue": (250, 0, 0), "grey": (120, 120, 120)}[colour]
    return np.full((height, width, 3), bgr, np.uint8)


def golden_inputs() -> NDArray[np.uint8]:
    """(6, SIDE, SIDE, 3) uint8 RGB: three plain colours and three noisy ones."""
    plain = np.stack([plain_picture(colour, SIDE, SIDE)[..., ::-1] for colour in CLASSES])
    noise = np.random.default_rng(3).integers(0, 60, plain.shape, np.uint8)
    return np.concatenate([plain, np.maximum(plain, noise)])


def colour_models() -> dict[str, bytes]:
    """The classifier as files of both runtimes, float and int8, by the name of the variant. Takes some seconds."""
    return {**_tflite_models(), **_onnx_models()}


def colour_manifest(
    models: dict[str, bytes], name: str = "colours", threshold: float = 0.6
) -> tuple[Manifest, dict[str, bytes]]:
    """A manifest for these models, and the content of every file that it lists."""
    inputs = golden_inputs()
    arrays: dict[str, NDArray[Any]] = {"inputs": inputs}
    files = {"report.html": b"<!doctype html><title>colours</title>"}
    variants = []
    for variant_name, model in models.items():
        kind = EngineKind.LITERT if variant_name.startswith("tflite") else EngineKind.ONNX
        file_name = f"{variant_name}.{'tflite' if kind is EngineKind.LITERT else 'onnx'}"
        with load_engine(kind, model, 1) as engine:
            arrays[variant_name] = np.stack([engine.run(pixels) for pixels in inputs])
            variants.append(_variant(variant_name, kind, file_name, model, engine.input, engine.output, threshold))
        files[file_name] = model
    files["golden.npz"] = pack_arrays(arrays)
    manifest = Manifest(
        schema=SCHEMA_VERSION,
        name=name,
        version="1.2.3",
        created="2025-01-02T03:04:05Z",
        classes=CLASSES,
        preprocess=SPEC,
        variants=tuple(variants),
        golden=Golden(file=file_entry("golden.npz", files["golden.npz"])),
        report=file_entry("report.html", files["report.html"]),
        training=Training(
            backbone="hand-set",
            seed=0,
            photos_train=1,
            photos_validation=1,
            photos_test=1,
            test_accuracy=1.0,
            split=SplitRule(ready_made=False, seed=0, validation=0.15, test=0.15),
            edgegraft_version="0.1.0",
        ),
    )
    return manifest, files


def write_colour_bundle(path: Path, models: dict[str, bytes]) -> Path:
    """Write that bundle and return its path."""
    write_bundle(path, *colour_manifest(models))
    return path


def reseal(archive: bytes) -> bytes:
    """Give a zip a valid seal over whatever it holds, as somebody would who wants it to be accepted.

    Args:
        archive: a zip whose comment is as long as a seal.
    """
    body = archive[:-SEAL_BYTES]
    return body + b"edgegraft-sha256:" + hashlib.sha256(body).hexdigest().encode()


def sealed_zip(entries: Iterable[tuple[zipfile.ZipInfo | str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A sealed zip of these entries, in this order and as they are: nothing is checked, names may repeat."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for info, data in entries:
            archive.writestr(info, data)
        archive.comment = b"0" * SEAL_BYTES
    return reseal(buffer.getvalue())


def entries_of(path: Path) -> list[tuple[str, bytes]]:
    """Name and content of every entry of a bundle, in order."""
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The bundle with its manifest changed by ``edit`` and sealed again."""
    (name, text), *rest = entries_of(path)
    manifest = json.loads(text)
    edit(manifest)
    return sealed_zip([(name, json.dumps(manifest).encode()), *rest])


def replaced(path: Path, file_name: str, data: bytes) -> bytes:
    """The bundle with one of its files replaced, the manifest telling the truth about it, sealed again."""
    (_, text), *rest = entries_of(path)
    manifest = json.loads(text)
    listed = [*(variant["file"] for variant in manifest["variants"]), manifest["golden"]["file"], manifest["report"]]
    for entry in listed:
        if entry["name"] == file_name:
            entry.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    files = [(name, data if name == file_name else content) for name, content in rest]
    return sealed_zip([("manifest.json", json.dumps(manifest).encode()), *files])


def refusal(path: Path, data: bytes) -> str:
    """Write the bundle, open it, and return what it is refused with; reading its golden inputs counts."""
    path.write_bytes(data)
    with pytest.raises(DeviceError) as caught, open_bundle(path) as bundle:
        bundle.golden()
    message = str(caught.value)
    assert message.startswith(f"{path}: "), message
    assert "\n" not in message
    return message


def command_refusal(path: Path, data: bytes, *options: str) -> str:
    """The same through ``edgegraft run``: exit code 1, one line, no trace; before it perhaps that variants are new."""
    path.write_bytes(data)
    program = Path(sys.executable).with_name("edgegraft")
    command = [str(program), "run", path.name, "--camera", "scene:?live=0&frames=1", *options]
    environment = {**os.environ, "XDG_STATE_HOME": str(path.parent / "state")}
    result = subprocess.run(
        command, cwd=path.parent, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    *told, line = result.stderr.splitlines()
    assert [each.partition(" is new on this machine")[2] for each in told] in ([], [": trying its variants"])
    assert line.startswith(f"edgegraft run: {path.name}"), line
    return line


def _variant(
    name: str, kind: EngineKind, file_name: str, model: bytes, taken: TensorSpec, given: TensorSpec, threshold: float
) -> Variant:
    measured = Measured(
        photos=6,
        accuracy=1.0,
        accuracy_low=0.6,
        accuracy_high=1.0,
        drop_points=0.0,
        worst_class_drop_points=0.0,
        agreement=1.0,
        worst_difference=0.0,
        mean_difference=0.0,
        expected_calibration_error=0.0,
        calibration_drift=0.0,
    )
    return Variant(
        name=name,
        engine=kind,
        recipe=name.partition("-")[2],
        file=file_entry(file_name, model),
        input=taken,
        output=given,
        decision=Decision(unknown_threshold=threshold),
        measured=measured,
    )


def _tflite_models() -> dict[str, bytes]:
    import tensorflow as tf

    def concrete(dtype: Any) -> Any:
        @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), dtype, "pixels")])
        def classify(pixels: Any) -> Any:
            means = tf.reduce_mean(tf.cast(pixels, tf.float32) / 255.0, axis=(1, 2))
            return tf.nn.softmax(tf.matmul(means, tf.eye(3) * _SHARPNESS))

        return classify.get_concrete_function()

    def photos() -> Iterator[list[NDArray[np.float32]]]:
        for pixels in [*golden_inputs(), np.zeros((SIDE, SIDE, 3)), np.full((SIDE, SIDE, 3), 255)]:
            yield [pixels[np.newaxis].astype(np.float32)]

    plain = tf.lite.TFLiteConverter.from_concrete_functions([concrete(tf.uint8)])
    integer = tf.lite.TFLiteConverter.from_concrete_functions([concrete(tf.float32)])
    integer.optimizations = [tf.lite.Optimize.DEFAULT]
    integer.representative_dataset = photos
    integer.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    integer.inference_input_type = integer.inference_output_type = tf.uint8
    return {"tflite-float32": bytes(plain.convert()), "tflite-static-int8": bytes(integer.convert())}


def onnx_model(
    shape: tuple[int, ...] = (1, SIDE, SIDE, 3), classes: int = len(CLASSES), scale: float = _SHARPNESS
) -> bytes:
    """The classifier as ONNX, or one that does not fit: of another shape, or (scale NaN or 0) with useless answers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((3, classes), np.float32)
    np.fill_diagonal(weights, 1.0)
    constants = [
        numpy_helper.from_array(np.array(1 / 255, np.float32), "step"),
        numpy_helper.from_array(weights * np.float32(scale), "weights"),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "step"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, (1, classes))],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def _onnx_models() -> dict[str, bytes]:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Photos(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._photos = iter(golden_inputs())

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            pixels = next(self._photos, None)
            return None if pixels is None else {"pixels": pixels[np.newaxis]}

    plain = onnx_model()
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "plain.onnx", Path(scratch) / "int8.onnx"
        source.write_bytes(plain)
        quantize_static(str(source), str(target), Photos(), quant_format=QuantFormat.QDQ)
        return {"onnx-float32": plain, "onnx-static-int8": target.read_bytes()}
