"""ONNX files: what one takes and gives, and the surgery on it. Runs on hostile bytes: only in the child process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.adopt.errors import AdoptError
from export.adopt.interface import Entry, Interface, ModelInput, ModelOutput, Quantisation, Surgery
from export.adopt.shapes import read_input_shape, read_output_shape

_DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
}
_TYPES = {name: number for number, name in _DTYPES.items()}
# ONNX's own, and what every build of ONNX Runtime has beside them.
_KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft")
# Broadcasting as in numpy began there.
_LEAST_OPSET = 7
# Where quantised tensors come from: the places of the tensor, its scale and its zero point among the inputs.
_READS_QUANTISED = ("DequantizeLinear", "QLinearConv")


def inspect_onnx(model: bytes, size: int) -> Interface:
    """What the file takes and gives.

    Args:
        model: the file.
        size: height and width to assume where the file leaves them free; 0 for none.

    Raises:
        AdoptError: not an ONNX file, operators that ONNX Runtime lacks, weights in another file, or not one picture in
            and one list out.
    """
    proto = _parse(model)
    inputs, outputs = _inputs(proto), list(proto.graph.output)
    if len(inputs) != 1 or len(outputs) != 1:
        names = ", ".join(value.name for value in (*inputs, *outputs))
        raise AdoptError(
            f"the model has {len(inputs)} inputs and {len(outputs)} outputs ({names}); expected one of each"
        )
    taken, given = inputs[0], outputs[0]
    layout, height, width = read_input_shape(_shape(taken), size)
    classes, flat = read_output_shape(_shape(given))
    dtype = _dtype(taken, "input")
    quantisation = _input_quantisation(proto, taken.name, dtype) if dtype in ("uint8", "int8") else None
    given_dtype = _dtype(given, "output")
    if given_dtype in ("uint8", "int8"):
        raise AdoptError(f"the model puts out {given_dtype}; expected floats: keep the last DequantizeLinear")
    return Interface(
        ModelInput(taken.name, layout, height, width, dtype, quantisation),
        ModelOutput(given.name, classes, given_dtype, None, flat),
    )


def adapt_onnx(model: bytes, interface: Interface, surgery: Surgery) -> bytes:
    """The file with nodes added and the batch fixed to one."""
    proto = _parse(model)
    graph = _Graph(proto)
    taken, given = _inputs(proto)[0], proto.graph.output[0]
    front = _front(graph, interface.input, surgery)
    behind = _behind(graph, interface.output, surgery)
    nodes = [*front, *proto.graph.node, *behind]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    # Shapes in between were declared for a free batch.
    del proto.graph.value_info[:]
    if front:
        picture = (1, interface.input.height, interface.input.width, 3)
        taken.CopyFrom(helper.make_tensor_value_info(graph.pixels, TensorProto.UINT8, picture))
    else:
        _fix_shape(taken, interface.input.shape)
    name = behind[-1].output[0] if behind else given.name
    given.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, interface.output.classes)))
    return bytes(proto.SerializeToString())


class _Graph:
    """Makes nodes whose names no node of the model has."""

    def __init__(self, proto: Any) -> None:
        self._taken = {name for node in proto.graph.node for name in (*node.input, *node.output, node.name)}
        self._taken |= {value.name for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer)}
        self.pixels = self.name("pixels")

    def name(self, wanted: str) -> str:
        number, name = 1, wanted
        while name in self._taken:
            number, name = number + 1, f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def constant(self, nodes: list[Any], wanted: str, values: NDArray[Any]) -> str:
        # A node, for initialisers have to be inputs too in files of the first years.
        name = self.name(wanted)
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values, name)))
        return name

    def node(self, nodes: list[Any], operator: str, inputs: list[str], wanted: str, **attributes: Any) -> str:
        name = self.name(wanted)
        nodes.append(helper.make_node(operator, inputs, [name], name=self.name(f"edgegraft/{wanted}"), **attributes))
        return name


def _front(graph: _Graph, model: ModelInput, surgery: Surgery) -> list[Any]:
    if not surgery.in_front:
        return []
    nodes: list[Any] = []
    current = graph.pixels
    if surgery.swap:
        order = graph.constant(nodes, "bgr_order", np.array([2, 1, 0], np.int64))
        current = graph.node(nodes, "Gather", [current, order], "pixels_bgr", axis=3)
    if surgery.entry is not Entry.AS_THEY_ARE:
        current = graph.node(nodes, "Cast", [current], "pixels_float", to=TensorProto.FLOAT)
    if surgery.entry is Entry.SHIFTED:
        # Bytes as they are: quantised by hand, in whole numbers.
        offset = graph.constant(nodes, "pixels_offset", np.array(-128.0, np.float32))
        current = graph.node(nodes, "Add", [current, offset], "pixels_shifted")
    elif surgery.entry is not Entry.AS_THEY_ARE and surgery.scales:
        factor = graph.constant(nodes, "pixels_multiply", np.array(surgery.multiply, np.float32))
        current = graph.node(nodes, "Mul", [current, factor], "pixels_scaled")
        offset = graph.constant(nodes, "pixels_add", np.array(surgery.add, np.float32))
        current = graph.node(nodes, "Add", [current, offset], "pixels_normalised")
    if surgery.transpose:
        current = graph.node(nodes, "Transpose", [current], "pixels_nchw", perm=[0, 3, 1, 2])
    if surgery.entry is Entry.QUANTISED:
        assert model.quantisation is not None
        scale = graph.constant(nodes, "pixels_scale", np.array(model.quantisation.scale, np.float32))
        point = graph.constant(nodes, "pixels_zero_point", np.array(model.quantisation.zero_point, model.dtype))
        current = graph.node(nodes, "QuantizeLinear", [current, scale, point], "pixels_quantised")
    elif surgery.entry is Entry.SHIFTED or model.dtype == "float16":
        current = graph.node(nodes, "Cast", [current], "pixels_cast", to=_TYPES[model.dtype])
    # The last result takes the place of what was the input.
    nodes[-1].output[0] = model.name
    return nodes


def _behind(graph: _Graph, output: ModelOutput, surgery: Surgery) -> list[Any]:
    nodes: list[Any] = []
    current = output.name
    if output.dtype == "float16":
        current = graph.node(nodes, "Cast", [current], "answer_float", to=TensorProto.FLOAT)
    if surgery.flatten:
        shape = graph.constant(nodes, "answer_shape", np.array([1, -1], np.int64))
        current = graph.node(nodes, "Reshape", [current, shape], "answer_flat")
    if surgery.softmax:
        # axis 1 means the same before and since opset 13 where there are two axes.
        graph.node(nodes, "Softmax", [current], "probabilities", axis=1)
    return nodes


def _parse(model: bytes) -> Any:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(model)
    except Exception as err:  # protobuf's DecodeError differs between its two implementations
        raise AdoptError(f"not an ONNX file, or a damaged one ({err}); fetch or convert it again") from err
    if not proto.graph.node:
        raise AdoptError("not an ONNX file: it holds no nodes; fetch or convert it again")
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < _LEAST_OPSET:
        raise AdoptError(f"the model is of opset {opset}; {_LEAST_OPSET} or later is needed: convert it again")
    _refuse_foreign(proto)
    return proto


def _refuse_foreign(proto: Any) -> None:
    foreign, external = set(), False
    own = {(function.domain, function.name) for function in proto.functions}
    graphs = [proto.graph.node, *(function.node for function in proto.functions)]
    tensors = list(proto.graph.initializer)
    for node in (node for nodes in graphs for node in _all_nodes(nodes)):
        if node.domain not in _KNOWN_DOMAINS and (node.domain, node.op_type) not in own:
            foreign.add(f"{node.domain}.{node.op_type}")
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors, *attribute.g.initializer]
            tensors += [tensor for graph in attribute.graphs for tensor in graph.initializer]
    external = any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors)
    if foreign:
        raise AdoptError(
            f"the model holds operators that ONNX Runtime does not have: {', '.join(sorted(foreign))}; export it again "
            f"with standard operators only"
        )
    if external or proto.graph.sparse_initializer:
        raise AdoptError(
            "the model's weights lie in another file (or are sparse); save it as one file: "
            "onnx.save(onnx.load('model.onnx'), 'whole.onnx')"
        )


def _all_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)


def _inputs(proto: Any) -> list[Any]:
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in constants]


def _shape(value: Any) -> tuple[int, ...]:
    # A free side has a name or nothing.
    return tuple(int(side.dim_value) for side in value.type.tensor_type.shape.dim)


def _fix_shape(value: Any, shape: tuple[int, ...]) -> None:
    for side, length in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        side.dim_value = length


def _dtype(value: Any, what: str) -> str:
    number = value.type.tensor_type.elem_type
    dtype = _DTYPES.get(number)
    if dtype is None:
        came = TensorProto.DataType.Name(number) if number else "no tensor"
        raise AdoptError(f"the model's {what} is {came}; expected {', '.join(_DTYPES.values())}")
    return dtype


def _input_quantisation(proto: Any, name: str, dtype: str) -> Quantisation:
    """Of an integer input, as the first node that reads it has it; a uint8 without one is a pixel."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in proto.graph.node if node.op_type == "Constant"}
    for node in proto.graph.node:
        if node.op_type in _READS_QUANTISED and node.input[0] == name:
            found = [numpy_helper.to_array(constants[key]) for key in node.input[1:3] if key in constants]
            if found and found[0].size == 1:
                point = int(found[1].reshape(-1)[0]) if len(found) > 1 else 0
                return Quantisation(float(found[0].reshape(-1)[0]), point)
    if dtype == "uint8":
        return Quantisation(1.0, 0)
    raise AdoptError("the model takes int8 and does not say what a byte stands for; keep its first DequantizeLinear")
