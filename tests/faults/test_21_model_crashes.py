"""Row 21: a model that crashes or hangs its interpreter. It does so in a process of its own, and another is taken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bundles import SIDE, plain_picture, replaced, write_colour_bundle

from device.bundle import open_bundle
from device.choosing import choose_here
from device.classifier import open_classifier
from device.errors import EngineError
from device.releases.trial import golden_trial
from tests.fault_board import FaultBoard

FIRST = "tflite-float32"


def looping_model(depth: int) -> bytes:
    """A valid TFLite file of the bundle's shapes whose loops, one in another, never end."""
    import tensorflow as tf

    def loop(values: Any, depth: int) -> Any:
        def body(values: Any) -> Any:
            grown = values * 1.0001
            return (loop(grown, depth - 1) if depth else grown,)

        return tf.while_loop(lambda values: tf.reduce_sum(values) > -1.0, body, (values,))[0]

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8, "pixels")])
    def classify(pixels: Any) -> Any:
        return tf.nn.softmax(loop(tf.reduce_mean(tf.cast(pixels, tf.float32) / 255.0, axis=(1, 2)), depth))

    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()]).convert())


def crashing_model() -> bytes:
    """A file whose inner loop has itself for its body: LiteRT follows it until its stack is used up."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(looping_model(1), 0))
    for number, graph in enumerate(model.subgraphs[1:], start=1):
        for operator in graph.operators:
            if isinstance(operator.builtinOptions, schema.WhileOptionsT):
                operator.builtinOptions.bodySubgraphIndex = number
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="module")
def crashing_bundle(colour_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crash") / "crash.egb"
    path.write_bytes(replaced(colour_bundle, f"{FIRST}.tflite", crashing_model()))
    return path


def test_the_file_does_crash_the_runtime(crashing_bundle: Path) -> None:
    program = "import sys; from pathlib import Path; from device.classifier import open_classifier as o; " + (
        f"o(Path(sys.argv[1]), '{FIRST}')"
    )
    child = subprocess.run([sys.executable, "-c", program, crashing_bundle], capture_output=True, check=False)
    assert child.returncode < 0


def test_another_variant_is_taken_than_the_one_that_crashes(crashing_bundle: Path, tmp_path: Path) -> None:
    with open_bundle(crashing_bundle) as bundle:
        chosen = choose_here(bundle, tmp_path)
    by_name = {one.variant: one for one in chosen.tried}
    assert "crashed on the model in a process of its own (SIG" in by_name[FIRST].error
    assert chosen.variant != FIRST
    with open_classifier(crashing_bundle, state=tmp_path) as classifier:
        assert classifier.variant.name == chosen.variant
        assert classifier.classify(plain_picture("green")).answer.label == "green"


def test_another_variant_is_taken_than_the_one_that_hangs(colour_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "hang.egb"
    path.write_bytes(replaced(colour_bundle, f"{FIRST}.tflite", looping_model(0)))
    with open_bundle(path) as bundle:
        chosen = choose_here(bundle, tmp_path, time_limit_s=5)
    assert chosen.tried[0].error == "in a process of its own the model gave no answer within 5 s"
    assert chosen.variant != FIRST


def test_where_all_crash_the_process_that_asks_lives_and_says_why(
    colour_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("ai_edge_litert", "onnxruntime"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        open_bundle(colour_bundle) as bundle,
        pytest.raises(EngineError, match=r"no variant gives the right answers here: tflite-float32 on cpu: .*SIGSEGV"),
    ):
        choose_here(bundle, tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_the_command_classifies_with_another_one(
    crashing_bundle: Path, tmp_path: Path, edgegraft: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    os.environ["STATE_DIRECTORY"] = str(tmp_path / "state")
    try:
        result = edgegraft("run", crashing_bundle, "--camera", "scene:?live=0&frames=3", "--json")
    finally:
        del os.environ["STATE_DIRECTORY"]
    assert result.returncode == 0, result.stderr
    assert f'"variant":"{FIRST}"' not in result.stdout.replace(" ", "")


@pytest.mark.parametrize(
    ("model", "words"), [("crashing", "crashed on the model"), ("looping", "gave no answer within")]
)
def test_an_installer_survives_it_and_refuses(
    fault_board: FaultBoard, colour_models: dict[str, bytes], tmp_path: Path, model: str, words: str
) -> None:
    whole = write_colour_bundle(tmp_path / "whole.egb", {FIRST: colour_models[FIRST]})
    path = tmp_path / "bad.egb"
    path.write_bytes(replaced(whole, f"{FIRST}.tflite", crashing_model() if model == "crashing" else looping_model(0)))
    message = fault_board.refused(path, 16, trial=partial(golden_trial, time_limit_s=5))
    assert f"{FIRST} on cpu: " in message
    assert words in message
    assert message.endswith("nothing was switched, what ran before goes on running")


def test_an_installer_takes_another_variant_of_it(fault_board: FaultBoard, crashing_bundle: Path) -> None:
    assert fault_board.install(crashing_bundle).changed
    release = fault_board.store.current()
    assert release is not None
    with open_classifier(release.bundle, state=release.folder) as classifier:  # as the service will
        assert classifier.variant.name != FIRST
        assert classifier.classify(plain_picture("red")).answer.label == "red"
