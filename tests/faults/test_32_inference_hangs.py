"""Row 32: the inference hangs. The watchdog is not fed any more, the service manager ends the service and starts it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from bundles import SIDE
from notify_manager import NotifyManager

WATCHDOG_S = 3.0
LIMIT_S = 90.0

# A real runtime that gets into a loop without end after some frames, at the first start only.
PROGRAM = """
import sys
from pathlib import Path

import numpy as np

from device.cameras.scene import SceneCamera
from device.cameras.spec import CameraSpec
from device.classifier import open_classifier
from device.runtime import Runtime
from device.watchdog import Keeper, Notifier, watchdog_interval_s

bundle, hanging, marker = map(Path, sys.argv[1:])
with open_classifier(bundle, "tflite-float32") as classifier:
    engine = classifier._engine
    run = engine.run

    class Sick:
        threads, accelerator, calls = engine.threads, engine.accelerator, 0

        def run(self, pixels):
            Sick.calls += 1
            if Sick.calls == 40 and not marker.exists():
                marker.touch()
                from ai_edge_litert.interpreter import Interpreter

                loop = Interpreter(model_path=str(hanging))
                loop.allocate_tensors()
                loop.set_tensor(loop.get_input_details()[0]["index"], pixels[np.newaxis].astype(np.float32))
                loop.invoke()
            return run(pixels)

        def close(self):
            engine.close()

    classifier._engine = Sick()
    keeper = Keeper(Notifier(), watchdog_interval_s())
    camera = CameraSpec("scene", True, lambda: SceneCamera(live=True))
    with Runtime(classifier, [camera], keeper=keeper) as runtime:
        runtime.run()
"""


def endless_model() -> bytes:
    """A valid TFLite file whose loop never ends."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, "pixels")])
    def classify(pixels: tf.Tensor) -> tf.Tensor:
        start = tf.reduce_mean(pixels, axis=(1, 2))
        return tf.while_loop(lambda v: tf.reduce_sum(v) > -1.0, lambda v: (v * np.float32(1.0001),), (start,))[0]

    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()]).convert())


def test_a_hung_inference_is_ended_by_the_watchdog_and_the_next_start_works(
    colour_bundle: Path, tmp_path: Path
) -> None:
    hanging, marker = tmp_path / "hang.tflite", tmp_path / "hung"
    hanging.write_bytes(endless_model())
    command = [sys.executable, "-c", PROGRAM, str(colour_bundle), str(hanging), str(marker)]
    with NotifyManager(str(tmp_path / "notify")) as manager:
        first, second = manager.watch(command, WATCHDOG_S, starts=2, limit_s=LIMIT_S)
    assert marker.exists()  # it was the loop that ended the first
    assert first[0] == "READY=1"
    assert second[0] == "READY=1"
    assert second.count("WATCHDOG=1") >= 2
