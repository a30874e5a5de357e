"""Model files that are damaged or made to do harm: refused with a sentence, and nothing of ours dies of them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from foreign_models import SIDE, Taste, onnx_classifier, tflite_classifier
from onnx import TensorProto, helper, numpy_helper

from device.contract import EngineKind
from export.adopt import child
from export.adopt.errors import AdoptError
from export.adopt.normalisation import PRESETS
from export.adopt.sandbox import Sandbox

TASTE = Taste(PRESETS["0..1"])
PICTURES = np.zeros((3, SIDE, SIDE, 3), np.uint8)


def _inspect(folder: Path, model: bytes, kind: EngineKind = EngineKind.ONNX) -> child.Result:
    return Sandbox(folder, model).do(child.Inspect(kind, 0))


def _refused(folder: Path, model: bytes, kind: EngineKind = EngineKind.ONNX) -> str:
    with pytest.raises(AdoptError) as caught:
        _inspect(folder, model, kind)
    return str(caught.value)


def _original(folder: Path, proto: Any, **limits: float) -> np.ndarray:
    model = proto.SerializeToString()
    interface = _inspect(folder, model).interface
    assert interface is not None
    task = child.RunOriginal(EngineKind.ONNX, interface, (PRESETS["0..1"],))
    return Sandbox(folder, model, **limits).answer(task, PICTURES)[0]


@pytest.fixture(scope="module")
def tflite() -> bytes:
    """A good one, to be damaged."""
    return tflite_classifier(TASTE)


def test_a_flex_operator_is_refused_by_name(tmp_path: Path, tflite: bytes) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(tflite, 0)
    code = tree.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = "FlexErf"
    builder = flatbuffers.Builder()
    builder.Finish(tree.Pack(builder), b"TFL3")
    message = _refused(tmp_path, bytes(builder.Output()), EngineKind.LITERT)
    assert "FlexErf (Flex: TensorFlow's own)" in message
    assert "TFLITE_BUILTINS" in message


@pytest.mark.parametrize("keep", [12, 200, 1000])
def test_a_tflite_file_that_is_cut_short_is_damaged(tmp_path: Path, tflite: bytes, keep: int) -> None:
    assert "fetch or convert it again" in _refused(tmp_path, tflite[:keep], EngineKind.LITERT)


def test_an_onnx_operator_of_somebodys_own_is_refused_by_name(tmp_path: Path) -> None:
    proto = onnx_classifier(TASTE)
    proto.graph.node[0].domain = "acme.vision"
    assert "ONNX Runtime does not have: acme.vision.ReduceMean" in _refused(tmp_path, proto.SerializeToString())


def test_weights_in_another_file_are_not_fetched(tmp_path: Path) -> None:
    proto = onnx_classifier(TASTE)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    message = _refused(tmp_path, proto.SerializeToString())
    assert "weights lie in another file" in message
    assert "onnx.save" in message


def test_two_outputs_are_named(tmp_path: Path) -> None:
    proto = onnx_classifier(TASTE)
    proto.graph.output.append(helper.make_tensor_value_info("means", TensorProto.FLOAT, [1, 3]))
    assert "1 inputs and 2 outputs (pixels, answer, means)" in _refused(tmp_path, proto.SerializeToString())


def test_a_model_that_never_answers_is_ended(tmp_path: Path) -> None:
    proto = onnx_classifier(TASTE)
    _add_endless_loop(proto)
    others = psutil.Process().children()  # multiprocessing keeps one of its own, once an earlier test has used it
    with pytest.raises(AdoptError, match="gave no answer for 8 s and was ended"):
        _original(tmp_path, proto, start_limit_s=8.0)
    assert set(psutil.Process().children()) <= set(others)


def test_a_model_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    proto = onnx_classifier(TASTE)
    shape = numpy_helper.from_array(np.array([2**38], np.int64), "much")
    proto.graph.initializer.append(shape)
    nodes = [
        helper.make_node("ConstantOfShape", ["much"], ["floods"]),
        helper.make_node("ReduceSum", ["floods"], ["flood"], keepdims=0),
        helper.make_node("Add", ["bias", "flood"], ["flooded"]),
    ]
    proto.graph.node[2].input[1] = "flooded"
    for place, node in enumerate(nodes):
        proto.graph.node.insert(place, node)
    with pytest.raises(AdoptError, match="its own runtime does not run the model"):
        _original(tmp_path, proto)


def test_a_crash_of_the_runtime_is_told_and_survived(tmp_path: Path) -> None:
    proto = onnx_classifier(TASTE)
    sandbox = Sandbox(tmp_path, proto.SerializeToString())
    interface = sandbox.do(child.Inspect(EngineKind.ONNX, 0)).interface
    assert interface is not None
    task = child.RunOriginal(EngineKind.ONNX, interface, (PRESETS["0..1"],) * 50)

    def crash() -> None:
        for process in psutil.Process().children():
            process.send_signal(signal.SIGSEGV)

    with pytest.raises(AdoptError, match=r"the runtime crashed on the model \(SIGSEGV\)"):
        sandbox.answer(task, np.zeros((400, SIDE, SIDE, 3), np.uint8), crash)


def _add_endless_loop(proto: Any) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition_in"], ["condition_out"]),
            helper.make_node("Add", ["carried_in", "carried_in"], ["carried_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("condition_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_out", TensorProto.FLOAT, None),
        ],
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.array(2**62, np.int64), "turns"))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "go_on"))
    proto.graph.node.insert(2, helper.make_node("Loop", ["turns", "go_on", "product"], ["looped"], body=body))
    proto.graph.node[3].input[0] = "looped"
    onnx.checker.check_model(proto)
