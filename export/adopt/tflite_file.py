"""TFLite files: what one takes and gives, and the surgery on it. Runs on hostile bytes: only in the child process.

The schema is LiteRT's own, so that nothing of TensorFlow is imported. Operators are added to the flatbuffer's object
tree; weights keep their bytes.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from export.adopt.errors import AdoptError
from export.adopt.interface import Entry, Interface, ModelInput, ModelOutput, Quantisation, Surgery
from export.adopt.shapes import read_input_shape, read_output_shape
from export.metadata.tables import ModelBuilder

_IDENTIFIER = b"TFL3"
# Describes tensors that the surgery replaces; whoever wants it writes it anew.
_STALE_METADATA = (b"TFLITE_METADATA",)
_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT8: "int8",
}
_TYPES = {name: number for number, name in _DTYPES.items()} | {"int32": schema.TensorType.INT32}
_Op = schema.BuiltinOperator
# Of the schema: buffers are 16 byte aligned, for vector instructions. Python's builder forgets it.


def inspect_tflite(model: bytes, size: int) -> Interface:
    """What the file takes and gives.

    Args:
        model: the file.
        size: height and width to assume where the file leaves them free; 0 for none.

    Raises:
        AdoptError: not a TFLite file, operators that are not builtin, or not one picture in and one list out.
    """
    tree = _parse(model)
    _refuse_foreign_operators(tree)
    graph = tree.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise AdoptError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; expected one of each"
        )
    taken, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    layout, height, width = read_input_shape(_shape(taken, with_free=True), size)
    classes, flat = read_output_shape(_shape(given))
    return Interface(
        ModelInput(_name(taken), layout, height, width, _dtype(taken, "input"), _quantisation(taken)),
        ModelOutput(_name(given), classes, _dtype(given, "output"), _quantisation(given), flat),
    )


def adapt_tflite(model: bytes, interface: Interface, surgery: Surgery) -> bytes:
    """The file with operators added; the same bytes where there is nothing to add."""
    tree = _parse(model)
    graph = _Graph(tree)
    taken = graph.main.tensors[graph.main.inputs[0]]
    if not surgery.in_front and not surgery.behind and tuple(taken.shape) == interface.input.shape:
        return model
    # Sides that were free are known by now; the runtime works out the shapes behind them.
    taken.shape, taken.shapeSignature = np.array(interface.input.shape, np.int32), None
    front = _front(graph, interface, surgery)
    behind = _behind(graph, interface, surgery)
    graph.main.operators = [*front, *graph.main.operators, *behind]
    _drop_stale(tree)
    builder = ModelBuilder(len(model) + 4096)
    builder.Finish(tree.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Graph:
    """Adds tensors, constants and operators to the main subgraph."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        self.main = tree.subgraphs[0]

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str, quantisation: Quantisation | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, _TYPES[dtype], 0
        tensor.shape = np.array(shape, np.int32)
        if quantisation is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array([quantisation.scale], np.float32)
            tensor.quantization.zeroPoint = np.array([quantisation.zero_point], np.int64)
        self.main.tensors.append(tensor)
        return len(self.main.tensors) - 1

    def constant(self, name: str, values: NDArray[Any]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.tree.buffers.append(buffer)
        index = self.tensor(name, values.shape, values.dtype.name)
        self.main.tensors[index].buffer = len(self.tree.buffers) - 1
        return index

    def operator(
        self, builtin: int, inputs: list[int], output: int, options: Any = None, kind: int = 0, version: int = 1
    ) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(builtin, version)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        operator.builtinOptions, operator.builtinOptionsType = options, kind
        return operator

    def _code(self, builtin: int, version: int) -> int:
        for index, code in enumerate(self.tree.operatorCodes):
            if _builtin(code) == builtin and code.version >= version:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
        self.tree.operatorCodes.append(code)
        return len(self.tree.operatorCodes) - 1


def _front(graph: _Graph, interface: Interface, surgery: Surgery) -> list[Any]:
    if not surgery.in_front:
        return []
    model, operators = interface.input, []
    picture = (1, model.height, model.width, 3)
    target = int(graph.main.inputs[0])
    bytes_as = None
    if surgery.entry in (Entry.AS_THEY_ARE, Entry.SHIFTED):
        assert model.quantisation is not None
        bytes_as = Quantisation(model.quantisation.scale, model.byte_zero_point)
    current = pixels = graph.tensor("pixels", picture, "uint8", bytes_as)

    def step(builtin: int, inputs: list[int], result: int, options: Any = None, kind: int = 0) -> int:
        operators.append(graph.operator(builtin, inputs, result, options, kind))
        return result

    if surgery.swap:
        order = graph.constant("bgr_order", np.array([2, 1, 0], np.int32))
        options = schema.GatherOptionsT()
        options.axis = 3
        swapped = graph.tensor("pixels_bgr", picture, "uint8", bytes_as)
        current = step(_Op.GATHER, [current, order], swapped, options, schema.BuiltinOptions.GatherOptions)
    if surgery.entry in (Entry.FLOATS, Entry.QUANTISED):
        current = _normalise(graph, step, current, picture, surgery)
    dtype, quantisation = "float32", None
    if surgery.entry is Entry.SHIFTED:
        dtype, quantisation = "int8", model.quantisation
        current = step(_Op.QUANTIZE, [current], graph.tensor("pixels_int8", picture, dtype, quantisation))
    elif surgery.entry is Entry.AS_THEY_ARE:
        dtype, quantisation = "uint8", bytes_as
    if surgery.transpose:
        order = graph.constant("nchw_order", np.array([0, 3, 1, 2], np.int32))
        turned = graph.tensor("pixels_nchw", model.shape, dtype, quantisation)
        options = schema.TransposeOptionsT()
        current = step(_Op.TRANSPOSE, [current, order], turned, options, schema.BuiltinOptions.TransposeOptions)
    if surgery.entry is Entry.QUANTISED:
        current = step(
            _Op.QUANTIZE, [current], graph.tensor("pixels_quantised", model.shape, model.dtype, model.quantisation)
        )
    # The last result takes the place of what was the input.
    operators[-1].outputs = np.array([target], np.int32)
    graph.main.inputs = np.array([pixels], np.int32)
    _repoint(graph.tree, "inputs", target, pixels)
    return operators


def _normalise(graph: _Graph, step: Any, current: int, picture: tuple[int, ...], surgery: Surgery) -> int:
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
    floats = graph.tensor("pixels_float", picture, "float32")
    current = step(_Op.CAST, [current], floats, cast, schema.BuiltinOptions.CastOptions)
    if not surgery.scales:
        return int(current)
    for name, values, builtin, options, kind in (
        ("scaled", surgery.multiply, _Op.MUL, schema.MulOptionsT(), schema.BuiltinOptions.MulOptions),
        ("normalised", surgery.add, _Op.ADD, schema.AddOptionsT(), schema.BuiltinOptions.AddOptions),
    ):
        factor = graph.constant(f"pixels_{name}_by", np.array(values, np.float32))
        current = step(builtin, [current, factor], graph.tensor(f"pixels_{name}", picture, "float32"), options, kind)
    return int(current)


def _behind(graph: _Graph, interface: Interface, surgery: Surgery) -> list[Any]:
    if not surgery.behind:
        return []
    given, operators = interface.output, []
    original = current = int(graph.main.outputs[0])
    dtype, quantisation = given.dtype, given.quantisation
    if surgery.softmax and quantisation is not None:
        # In floats: a quantised softmax would round once more.
        result = graph.tensor("logits", _shape(graph.main.tensors[current]), "float32")
        # DEQUANTIZE knows int8 since version 2.
        operators.append(graph.operator(_Op.DEQUANTIZE, [current], result, version=2))
        current, dtype, quantisation = result, "float32", None
    if surgery.flatten:
        shape = graph.constant("answer_shape", np.array([1, given.classes], np.int32))
        result = graph.tensor("answer_flat", (1, given.classes), dtype, quantisation)
        reshape = schema.ReshapeOptionsT()
        reshape.newShape = np.array([1, given.classes], np.int32)
        kind = schema.BuiltinOptions.ReshapeOptions
        operators.append(graph.operator(_Op.RESHAPE, [current, shape], result, reshape, kind))
        current = result
    if surgery.softmax:
        result = graph.tensor("probabilities", (1, given.classes), "float32")
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        kind = schema.BuiltinOptions.SoftmaxOptions
        operators.append(graph.operator(_Op.SOFTMAX, [current], result, softmax, kind))
        current = result
    graph.main.outputs = np.array([current], np.int32)
    _repoint(graph.tree, "outputs", original, current)
    return operators


def _parse(model: bytes) -> Any:
    if model[4:8] != _IDENTIFIER:
        raise AdoptError("not a TFLite file: the mark 'TFL3' is missing at its start")
    try:
        tree = schema.ModelT.InitFromPackedBuf(model, 0)
        graph = tree.subgraphs[0]
        if not graph.operators or not graph.tensors or graph.inputs is None or graph.outputs is None:
            raise ValueError("an empty graph")
        if any(buffer.offset > 1 for buffer in tree.buffers):
            raise AdoptError("the model's weights lie behind its flatbuffer (a file over 2 GB); give a smaller one")
        return tree
    # What the reader raises on offsets made by a hostile hand.
    except (AttributeError, IndexError, MemoryError, OverflowError, TypeError, ValueError, struct.error) as err:
        raise AdoptError(
            f"the TFLite file is damaged ({type(err).__name__}: {err}); fetch or convert it again"
        ) from err


def _refuse_foreign_operators(tree: Any) -> None:
    used = {int(operator.opcodeIndex) for graph in tree.subgraphs for operator in graph.operators or []}
    foreign = sorted(
        (code.customCode or b"custom").decode("utf-8", "backslashreplace")
        for index, code in enumerate(tree.operatorCodes)
        if index in used and _builtin(code) == _Op.CUSTOM
    )
    if foreign:
        flex = " (Flex: TensorFlow's own)" if any(name.startswith("Flex") for name in foreign) else ""
        raise AdoptError(
            f"the model holds operators that no board's LiteRT has: {', '.join(foreign)}{flex}; convert it again with "
            f"TFLITE_BUILTINS only, and without post-processing"
        )


def _builtin(code: Any) -> int:
    # Files from before 2020 have the small field only.
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _repoint(tree: Any, side: str, old: int, new: int) -> None:
    for signature in tree.signatureDefs or []:
        for entry in getattr(signature, side) or []:
            if signature.subgraphIndex == 0 and entry.tensorIndex == old:
                entry.tensorIndex = new


def _drop_stale(tree: Any) -> None:
    tree.metadata = [entry for entry in tree.metadata or [] if entry.name not in _STALE_METADATA] or None


def _shape(tensor: Any, with_free: bool = False) -> tuple[int, ...]:
    # Free sides are 1 in the shape and -1 in its signature, if there is one.
    sides = tensor.shapeSignature if with_free and tensor.shapeSignature is not None else tensor.shape
    return () if sides is None else tuple(int(side) for side in np.atleast_1d(sides))


def _name(tensor: Any) -> str:
    return str((tensor.name or b"").decode("utf-8", "backslashreplace"))


def _dtype(tensor: Any, what: str) -> str:
    dtype = _DTYPES.get(tensor.type)
    if dtype is None:
        raise AdoptError(f"the model's {what} is of TFLite type {tensor.type}; expected {', '.join(_DTYPES.values())}")
    return dtype


def _quantisation(tensor: Any) -> Quantisation | None:
    if tensor.type == schema.TensorType.FLOAT32:
        return None
    parameters = tensor.quantization
    scales = [] if parameters is None or parameters.scale is None else [float(scale) for scale in parameters.scale]
    if len(scales) != 1 or not 0 < scales[0] < np.inf:
        raise AdoptError(f"tensor '{_name(tensor)}' is quantised without one scale; convert the model again")
    zero_points = [] if parameters.zeroPoint is None else [int(point) for point in parameters.zeroPoint]
    return Quantisation(scales[0], zero_points[0] if zero_points else 0)
