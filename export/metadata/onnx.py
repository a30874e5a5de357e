"""ONNX ``metadata_props``: what Netron, ONNX Runtime and other tools show and read.

Keys: https://onnx.ai/onnx/repo-docs/IR.html#optional-metadata and https://onnx.ai/onnx/repo-docs/MetadataProps.html
for images; ``names`` is what Ultralytics' tools look for.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import msgspec

from device.contract import ColourOrder
from export.metadata.description import (
    RAW_PIXELS,
    Description,
    FileMetadata,
    Normalisation,
    description_bytes,
    parse_description,
    require_classes,
)
from export.metadata.errors import MetadataError

DESCRIPTION_KEY = "edgegraft"
LABELS_KEY = "names"

_OTHER_LABELS_KEYS = ("labels", "classes")
_MOST_TEXT = 8 * 1024 * 1024
_MOST_LABELS = 100_000
# One of {0: 'tench', 1: "crow's nest"}.
_PAIR = re.compile(r"""(?P<index>\d{1,6}):\s*(?P<name>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""")
_PIXEL_RANGES = {
    "nominalrange_0_255": RAW_PIXELS,
    "normalized_0_1": Normalisation((0.0,), (255.0,)),
    "normalized_1_1": Normalisation((127.5,), (127.5,)),
}


def describe_onnx(model: bytes, description: Description) -> bytes:
    """Write a description into a model; one that is there is replaced. Weights and graph stay as they are.

    Args:
        model: a ``.onnx`` file that loads, with (1, height, width, 3) uint8 pixels in and probabilities out.
        description: of this very file.

    Returns:
        the file with ``metadata_props``, producer, documentation, and an input that says that it is an image.

    Raises:
        MetadataError: the model takes or puts out something else than the description says.
    """
    proto = _parse(model)
    _check_fits(proto, description)
    properties = _properties_of(proto) | _own_properties(description)
    del proto.metadata_props[:]
    for key, value in properties.items():
        proto.metadata_props.add(key=key, value=value)
    proto.producer_name, proto.producer_version = "edgegraft", description.edgegraft_version
    proto.doc_string = description.summary()
    # The Image properties are about tensors of this denotation.
    proto.graph.input[0].type.denotation = "IMAGE"
    return bytes(proto.SerializeToString())


def read_onnx(model: bytes) -> FileMetadata:
    """What a ``.onnx`` file says about itself; the file may come from anywhere.

    Returns:
        what was found; empty for a model without properties.

    Raises:
        MetadataError: no ONNX file, or properties that are damaged or contradict the model.
    """
    proto = _parse(model)
    # The keys for images have no case, the standard says.
    properties = {key.lower(): value for key, value in _properties_of(proto).items()}
    own = properties.get(DESCRIPTION_KEY)
    labels = next((properties[key] for key in (LABELS_KEY, *_OTHER_LABELS_KEYS) if key in properties), None)
    found = FileMetadata(
        name=properties.get("model_name", ""),
        version=properties.get("version", ""),
        author=properties.get("model_author", properties.get("author", "")),
        licence=properties.get("model_license", properties.get("license", "")),
        labels=_parse_labels(labels) if labels is not None else (),
        normalisation=_PIXEL_RANGES.get(properties.get("image.nominalpixelrange", "").lower()),
        description=parse_description(own) if own is not None else None,
    )
    outputs = _sides(proto.graph.output[0])[-1:] if len(proto.graph.output) == 1 else []
    if found.labels and outputs and outputs[0] not in (0, len(found.labels)):
        raise MetadataError(
            f"the model file has {len(found.labels)} labels for {outputs[0]} outputs: they belong to another model; "
            f"name a file that fits with --labels"
        )
    return found


def _parse(model: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        proto = onnx.ModelProto.FromString(model)
    except DecodeError as err:
        raise MetadataError(f"no ONNX model: {err}; get or export the file again") from err
    if not proto.graph.node:
        raise MetadataError("no ONNX model: it holds no operators; get or export the file again")
    return proto


def _check_fits(proto: Any, description: Description) -> None:
    graph, spec = proto.graph, description.preprocess
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise MetadataError(
            f"the model has {len(graph.input)} inputs and {len(graph.output)} outputs; expected one each"
        )
    expected, shape = [1, spec.height, spec.width, 3], _sides(graph.input[0])
    is_uint8 = graph.input[0].type.tensor_type.elem_type == _uint8()
    if shape != expected or not is_uint8:
        kind = "uint8" if is_uint8 else "another type"
        raise MetadataError(f"the model takes {shape} of {kind}; the preprocessing gives {expected} of uint8")
    require_classes(description, (_sides(graph.output[0]) or [0])[-1])


def _uint8() -> int:
    import onnx

    return int(onnx.TensorProto.UINT8)


def _sides(value: Any) -> list[int]:
    """Of a tensor; 0 for a side that is left open."""
    return [int(side.dim_value) for side in value.type.tensor_type.shape.dim]


def _properties_of(proto: Any) -> dict[str, str]:
    try:
        # Text that is no UTF-8 comes out of protobuf as bytes.
        return {_text(entry.key): _text(entry.value) for entry in proto.metadata_props}
    except UnicodeDecodeError as err:
        raise MetadataError(f"the properties of the model file are damaged ({err}); get or export it again") from err


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _own_properties(description: Description) -> dict[str, str]:
    is_rgb = description.preprocess.colour_order is ColourOrder.RGB
    named = {"model_author": description.author, "model_license": description.licence}
    return {
        DESCRIPTION_KEY: description_bytes(description).decode(),
        LABELS_KEY: msgspec.json.encode(description.classes).decode(),
        "model_name": description.name,
        "version": description.version,
        "Image.BitmapPixelFormat": "Rgb8" if is_rgb else "Bgr8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
        **{key: value for key, value in named.items() if value},
    }


def _parse_labels(text: str) -> tuple[str, ...]:
    """A JSON list, or, as Ultralytics writes it, a Python dictionary from index to name."""
    if len(text) > _MOST_TEXT:
        raise MetadataError(f"the class names in the model file take {len(text)} bytes; at most {_MOST_TEXT} are read")
    try:
        labels = (
            msgspec.json.decode(text, type=tuple[str, ...]) if text.lstrip()[:1] == "[" else _parse_dictionary(text)
        )
    except (msgspec.MsgspecError, ValueError, SyntaxError) as err:
        raise MetadataError(
            f"the class names in the model file cannot be read ({err}); expected a JSON list. Give them with --labels"
        ) from err
    if len(labels) > _MOST_LABELS:
        raise MetadataError(f"the model file has {len(labels)} class names; at most {_MOST_LABELS} are read")
    return labels


def _parse_dictionary(text: str) -> tuple[str, ...]:
    # Text by text: Python's parser must not see a whole that a hostile hand may have nested deeply.
    names = {int(pair["index"]): ast.literal_eval(pair["name"]) for pair in _PAIR.finditer(text)}
    if _PAIR.sub("", text).strip("{} ,\n") or sorted(names) != list(range(len(names))):
        raise ValueError(f"starts with {text[:40]!r}")
    return tuple(names[index] for index in range(len(names)))
