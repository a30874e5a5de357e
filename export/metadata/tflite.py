"""TFLite Model Metadata: what MediaPipe Tasks, Android and model viewers read from a ``.tflite`` file.

https://ai.google.dev/edge/litert/conversion/tensorflow/metadata: a FlatBuffer in the model's metadata named
``TFLITE_METADATA``, and a zip of the files that it mentions behind the model.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from device.contract import ColourOrder
from export.metadata import tflite_schema as schema
from export.metadata.archive import append_files, read_file
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
from export.metadata.tables import ModelBuilder, Node, View, write_tables

LABELS_FILE = "labels.txt"
DESCRIPTION_FILE = "edgegraft.json"

_MODEL_IDENTIFIER = b"TFL3"
_MOST_LABELS = 100_000
# For metadata and alignment: a builder that must grow doubles and copies all.
_ROOM_BYTES = 64 * 1024
_MOST_METADATA_ENTRIES = 64
# What reading offsets that point anywhere comes to.
_UNREADABLE = (AttributeError, IndexError, OverflowError, struct.error, TypeError, ValueError)


def describe_tflite(model: bytes, description: Description) -> bytes:
    """Write a description into a model; one that is there is replaced. Weights and graph stay as they are.

    Args:
        model: a ``.tflite`` file that loads, with (1, height, width, 3) uint8 pixels in and probabilities out.
        description: of this very file.

    Returns:
        the file with metadata, ``labels.txt`` and ``edgegraft.json``.

    Raises:
        MetadataError: the model takes or puts out something else than the description says, or keeps its weights
            outside the FlatBuffer (files over 2 GB).
    """
    from ai_edge_litert import schema_py_generated as litert

    _require_identifier(model)
    unpacked = litert.ModelT.InitFromObj(litert.Model.GetRootAs(model))
    _check_fits(unpacked, description, litert.TensorType.UINT8)
    _set_metadata(unpacked, write_tables(_model_metadata(description), schema.IDENTIFIER), litert)
    builder = ModelBuilder(len(model) + _ROOM_BYTES)
    builder.Finish(unpacked.Pack(builder), _MODEL_IDENTIFIER)
    labels = "".join(f"{_one_line(name)}\n" for name in description.classes)
    # First the description, which refuses names that are no Unicode with a better message.
    files = {DESCRIPTION_FILE: description_bytes(description), LABELS_FILE: labels.encode()}
    return append_files(bytes(builder.Output()), files)


def read_tflite(model: bytes) -> FileMetadata:
    """What a ``.tflite`` file says about itself; the file may come from anywhere.

    Returns:
        what was found; empty for a model without metadata.

    Raises:
        MetadataError: no TFLite file, or metadata that is damaged, contradicts the model or is too large.
    """
    _require_identifier(model)
    try:
        data, outputs = _find_metadata(model)
        found = _read_metadata(model, data) if data is not None else FileMetadata()
    except _UNREADABLE as err:
        raise MetadataError(f"the metadata in the model file is damaged ({err}); get or export the file again") from err
    if found.labels and outputs and len(found.labels) != outputs:
        raise MetadataError(
            f"the model file has {len(found.labels)} labels for {outputs} outputs: they belong to another model; "
            f"name a file that fits with --labels"
        )
    return found


def _check_fits(model: Any, description: Description, uint8: int) -> None:
    graph, spec = model.subgraphs[0], description.preprocess
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise MetadataError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; expected one each"
        )
    taken, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    expected, shape = [1, spec.height, spec.width, 3], [int(side) for side in taken.shape]
    if shape != expected or taken.type != uint8:
        kind = "uint8" if taken.type == uint8 else "another type"
        raise MetadataError(f"the model takes {shape} of {kind}; the preprocessing gives {expected} of uint8")
    require_classes(description, int(given.shape[-1]))
    # Their places count from the start of the file and would be wrong in the new one.
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise MetadataError("the model keeps its weights outside the FlatBuffer (over 2 GB) and cannot be described")


def _set_metadata(model: Any, data: bytes, litert: Any) -> None:
    values = np.frombuffer(data, np.uint8)
    for entry in model.metadata or []:
        if entry.name == schema.METADATA_NAME:
            model.buffers[entry.buffer].data = values
            return
    entry = litert.MetadataT(name=schema.METADATA_NAME, buffer=len(model.buffers))
    model.buffers.append(litert.BufferT(data=values))
    model.metadata = [*(model.metadata or []), entry]


def _model_metadata(description: Description) -> Node:
    slot = schema.ModelMetadata
    subgraph = Node(
        {
            schema.SubGraphMetadata.INPUTS: [_input_metadata(description)],
            schema.SubGraphMetadata.OUTPUTS: [_output_metadata()],
        }
    )
    own = _file(DESCRIPTION_FILE, "everything edgegraft knows about this model", schema.AssociatedFileType.DESCRIPTIONS)
    fields: dict[int, Any] = {
        slot.NAME: description.name,
        slot.DESCRIPTION: description.summary(),
        slot.VERSION: description.version,
        slot.SUBGRAPHS: [subgraph],
        slot.ASSOCIATED_FILES: [own],
        slot.MIN_PARSER_VERSION: schema.MIN_PARSER_VERSION,
    }
    if description.author:
        fields[slot.AUTHOR] = description.author
    if description.licence:
        fields[slot.LICENSE] = description.licence
    return Node(fields)


def _input_metadata(description: Description) -> Node:
    spec = description.preprocess
    # The schema has no name for BGR; a reader must not take it for RGB.
    is_rgb = spec.colour_order is ColourOrder.RGB
    size = Node({schema.ImageSize.WIDTH: spec.width, schema.ImageSize.HEIGHT: spec.height})
    image = Node(
        {
            schema.ImageProperties.COLOR_SPACE: schema.ColorSpace.RGB if is_rgb else schema.ColorSpace.UNKNOWN,
            schema.ImageProperties.DEFAULT_SIZE: size,
        }
    )
    # Also for int8: its input has scale one and zero point zero, so that quantising what is normalised changes nothing.
    options = Node({schema.NormalizationOptions.MEAN: RAW_PIXELS.mean, schema.NormalizationOptions.STD: RAW_PIXELS.std})
    return Node(
        {
            schema.TensorMetadata.NAME: "image",
            schema.TensorMetadata.DESCRIPTION: f"{spec.colour_order.value.upper()} pixels from 0 to 255, as they are",
            schema.TensorMetadata.CONTENT: _content(schema.ContentType.IMAGE, image),
            schema.TensorMetadata.PROCESS_UNITS: [_process_unit(schema.ProcessUnitType.NORMALIZATION, options)],
            schema.TensorMetadata.STATS: Node({schema.Stats.MAX: (255.0,), schema.Stats.MIN: (0.0,)}),
        }
    )


def _output_metadata() -> Node:
    # No score threshold: ours is for probabilities after the temperature, and the file's are before.
    labels = _file(LABELS_FILE, "the classes, one a line", schema.AssociatedFileType.TENSOR_AXIS_LABELS)
    return Node(
        {
            schema.TensorMetadata.NAME: "probability",
            schema.TensorMetadata.DESCRIPTION: "probability of each class",
            schema.TensorMetadata.CONTENT: _content(schema.ContentType.FEATURE, Node({})),
            schema.TensorMetadata.STATS: Node({schema.Stats.MAX: (1.0,), schema.Stats.MIN: (0.0,)}),
            schema.TensorMetadata.ASSOCIATED_FILES: [labels],
        }
    )


def _content(kind: schema.ContentType, properties: Node) -> Node:
    return Node({schema.Content.PROPERTIES_TYPE: kind, schema.Content.PROPERTIES: properties})


def _process_unit(kind: schema.ProcessUnitType, options: Node) -> Node:
    return Node({schema.ProcessUnit.OPTIONS_TYPE: kind, schema.ProcessUnit.OPTIONS: options})


def _file(name: str, description: str, kind: schema.AssociatedFileType) -> Node:
    slot = schema.AssociatedFile
    return Node({slot.NAME: name, slot.DESCRIPTION: description, slot.TYPE: kind})


def _one_line(name: str) -> str:
    # The label file has one a line. The description has the name as it is.
    return name.replace("\r", " ").replace("\n", " ")


def _require_identifier(model: bytes) -> None:
    if model[4:8] != _MODEL_IDENTIFIER:
        raise MetadataError(
            f"no TFLite model: it starts with {model[:8]!r}; a .tflite file has TFL3 in its bytes 4 to 8"
        )


def _find_metadata(model: bytes) -> tuple[bytes | None, int]:
    """The metadata FlatBuffer, and how many values the model puts out (0: it has not one output)."""
    from ai_edge_litert import schema_py_generated as litert

    root = litert.Model.GetRootAs(model)
    graph = root.Subgraphs(0)
    outputs = 0
    if graph.OutputsLength() == 1:
        tensor = graph.Tensors(graph.Outputs(0))
        outputs = int(tensor.Shape(tensor.ShapeLength() - 1))
    for index in range(min(root.MetadataLength(), _MOST_METADATA_ENTRIES)):
        entry = root.Metadata(index)
        if entry.Name() == schema.METADATA_NAME:
            data = root.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
            if data[4:8] != schema.IDENTIFIER:
                raise ValueError(f"it starts with {data[:8]!r}, expected M001 in bytes 4 to 8")
            return data, outputs
    return None, outputs


def _read_metadata(model: bytes, data: bytes) -> FileMetadata:
    slot = schema.ModelMetadata
    root = View.of(data)
    subgraph = next(iter(root.tables(slot.SUBGRAPHS)), None)
    inputs = subgraph.tables(schema.SubGraphMetadata.INPUTS) if subgraph else []
    outputs = subgraph.tables(schema.SubGraphMetadata.OUTPUTS) if subgraph else []
    own = read_file(model, DESCRIPTION_FILE)
    return FileMetadata(
        name=root.text(slot.NAME),
        version=root.text(slot.VERSION),
        author=root.text(slot.AUTHOR),
        licence=root.text(slot.LICENSE),
        labels=_read_labels(model, outputs[0]) if outputs else (),
        normalisation=_read_normalisation(inputs[0]) if inputs else None,
        description=parse_description(own) if own is not None else None,
    )


def _read_normalisation(tensor: View) -> Normalisation | None:
    for unit in tensor.tables(schema.TensorMetadata.PROCESS_UNITS):
        options = unit.table(schema.ProcessUnit.OPTIONS)
        if unit.byte(schema.ProcessUnit.OPTIONS_TYPE) == schema.ProcessUnitType.NORMALIZATION and options:
            mean, std = schema.NormalizationOptions.MEAN, schema.NormalizationOptions.STD
            return Normalisation(options.floats(mean), options.floats(std))
    return None


def _read_labels(model: bytes, tensor: View) -> tuple[str, ...]:
    for entry in tensor.tables(schema.TensorMetadata.ASSOCIATED_FILES):
        if entry.byte(schema.AssociatedFile.TYPE) != schema.AssociatedFileType.TENSOR_AXIS_LABELS:
            continue
        name = entry.text(schema.AssociatedFile.NAME)
        data = read_file(model, name)
        if data is None:
            raise MetadataError(f"the model file names labels in {name!r}, which is not in it; give them with --labels")
        labels = tuple(line.removesuffix("\r") for line in data.decode().removesuffix("\n").split("\n"))
        if len(labels) > _MOST_LABELS:
            raise MetadataError(f"{name!r} in the model file has {len(labels)} lines; at most {_MOST_LABELS} are read")
        return labels
    return ()
