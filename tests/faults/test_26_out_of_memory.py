"""Row 26: a model that asks for more memory than there is. Its own process dies of it, and nothing beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bundles import SIDE, replaced, write_colour_bundle

from tests.fault_board import FaultBoard
from tests.memory_limit import memory_limit

ONNX = "onnx-float32"
# Holds so many bytes, says so, and ends when its input does.
_SERVICE = "import sys; held = bytes([1]) * int(sys.argv[1]); print(len(held), flush=True); sys.stdin.read()"


def greedy_model(gigabytes: float) -> bytes:
    """The classifier, which on the way fills a tensor of this size."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    count = int(gigabytes * 1e9 / 4)
    constants = [
        numpy_helper.from_array(np.array(1 / 255, np.float32), "step"),
        numpy_helper.from_array(np.eye(3, dtype=np.float32) * np.float32(8), "weights"),
        numpy_helper.from_array(np.array([count], np.int64), "one"),
        numpy_helper.from_array(np.array([0], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "step"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("ReduceMax", ["logits"], ["most"], keepdims=0),  # known at run time only: nothing is folded
        helper.make_node("Expand", ["most", "one"], ["many"]),
        helper.make_node("ReduceMax", ["many"], ["back"], keepdims=0),
        helper.make_node("Sub", ["logits", "back"], ["shifted"]),
        helper.make_node("Softmax", ["shifted"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, (1, SIDE, SIDE, 3))],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, (1, 3))],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


@pytest.fixture
def whole(colour_models: dict[str, bytes], tmp_path: Path) -> Path:
    return write_colour_bundle(tmp_path / "whole.egb", {ONNX: colour_models[ONNX]})


def test_the_model_is_right_where_there_is_enough(fault_board: FaultBoard, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.egb"
    path.write_bytes(replaced(whole, f"{ONNX}.onnx", greedy_model(0.001)))
    assert fault_board.install(path).changed


def test_a_model_that_asks_for_more_than_the_limit(fault_board: FaultBoard, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "greedy.egb"
    path.write_bytes(replaced(whole, f"{ONNX}.onnx", greedy_model(20)))
    message = fault_board.refused(path, 16)
    assert f"{ONNX} on cpu: " in message
    assert "memory" in message


def test_on_a_small_board_the_trial_dies_and_the_service_lives(
    fault_board: FaultBoard, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "greedy.egb"
    path.write_bytes(replaced(whole, f"{ONNX}.onnx", greedy_model(4)))
    with memory_limit(1_200_000_000) as group:
        join = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", sys.executable]
        # Larger than its share: without a word from us the kernel would choose it.
        command = [*join, "-c", _SERVICE, "700000000"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
            assert service.stdin is not None and service.stdout is not None
            assert service.stdout.readline() == b"700000000\n"
            install = [*join, "-m", "tests.fault_program", "install", fault_board.store.root, path]
            done = subprocess.run(install, capture_output=True, text=True, check=False)
            assert service.poll() is None, "the service was ended in the place of the trial"
            service.stdin.close()
            assert service.wait() == 0
    assert done.returncode == 16, done.stderr
    assert "crashed on the model in a process of its own (SIGKILL)" in done.stderr
    fault_board.take_good()
