"""Which operators a model file holds, and which of them would not run, or not run fast, on a board."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from device.contract import EngineKind
from export.recipe import Activations, Target

_STANDARD_DOMAINS = ("", "ai.onnx")
# What stands between integers and the world outside.
_BRIDGES = ("QUANTIZE", "DEQUANTIZE", "CAST")


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators of one file.

    Attributes:
        counts: by name.
        foreign: names of those that a runtime without extras lacks (TensorFlow's own, custom ones).
        in_float: names of those that compute in float in a file that is meant to be all integer.
    """

    counts: dict[str, int]
    foreign: tuple[str, ...]
    in_float: tuple[str, ...]


def list_operators(target: Target, model: bytes) -> Operators:
    """Read a file's operators.

    Args:
        target: what the file is meant to be.
        model: its bytes, of an export of ours.
    """
    if target.engine is EngineKind.LITERT:
        return _of_tflite(model, target.recipe.activations is Activations.INT8)
    return _of_onnx(model)


def beside_accelerator(operators: Operators, accelerated: frozenset[str]) -> str:
    """A warning of operators that an accelerator does not know; empty where it knows all.

    Args:
        operators: of a TFLite file.
        accelerated: names of those that it knows; empty: there is no accelerator.
    """
    others = sorted(set(operators.counts) - accelerated - set(_BRIDGES)) if accelerated else []
    if not others:
        return ""
    listed = ", ".join(f"{name} ({operators.counts[name]})" for name in others)
    return f"the accelerator does not know {listed}: from the first of these on, the board's processor computes"


def _of_tflite(model: bytes, meant_integer: bool) -> Operators:
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    counts: Counter[str] = Counter()
    foreign, in_float = [], []
    for graph in tree.subgraphs:
        for operator in graph.operators:
            code = tree.operatorCodes[operator.opcodeIndex]
            kind = max(code.builtinCode, code.deprecatedBuiltinCode)
            name = code.customCode.decode() if code.customCode else names.get(kind, str(kind))
            counts[name] += 1
            if code.customCode:
                foreign.append(name)
            types = {graph.tensors[index].type for index in operator.outputs}
            if meant_integer and schema.TensorType.FLOAT32 in types and name not in _BRIDGES:
                in_float.append(name)
    return Operators(dict(counts), tuple(sorted(set(foreign))), tuple(sorted(set(in_float))))


def _of_onnx(model: bytes) -> Operators:
    import onnx

    nodes = onnx.load_from_string(model).graph.node
    foreign = {f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _STANDARD_DOMAINS}
    return Operators(dict(Counter(node.op_type for node in nodes)), tuple(sorted(foreign)), ())
