"""``python -m recipes NAME PHOTOS --weights FILE --out MODEL.keras``: train a rival and measure it on the test split.

With ``--int8`` a model trained before is converted by TFLiteConverter and measured through LiteRT instead.
Prints one JSON object, ``accuracy`` and ``n``, on standard output; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recipes.job import Job, RecipeModule

# The recipes are written for Keras as TensorFlow brings it.
os.environ.pop("TF_USE_LEGACY_KERAS", None)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="recipes", description=__doc__)
    parser.add_argument("name", choices=("tutorial", "frigate", "plain"))
    parser.add_argument("photos", type=Path, help="train/ val/ test/, each with a folder per class")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="of MobileNetV2 without top")
    parser.add_argument("--alpha", type=float, default=0.35)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL.keras")
    parser.add_argument("--int8", action="store_true", help="convert and measure the model that is at --out")
    args = parser.parse_args()
    with redirect_stdout(sys.stderr):
        job = Job(args.photos, args.weights, args.alpha, args.size)
        # Each is a module with the functions of the protocol.
        recipe = cast(RecipeModule, import_module(f"recipes.{args.name}"))
        answers, labels = _int8(recipe, job, args.out) if args.int8 else _train(recipe, job, args.seed, args.out)
    print(json.dumps({"accuracy": float(np.mean(answers == labels)), "n": len(labels)}))
    return 0


def _train(recipe: RecipeModule, job: Job, seed: int, out: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    model = recipe.train(job)
    model.save(out)
    images, labels = recipe.load(job, "test")
    return model.predict(images, verbose=0).argmax(axis=1), labels


def _int8(recipe: RecipeModule, job: Job, trained: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    import tensorflow as tf

    converted = _convert(tf.keras.models.load_model(trained), recipe, job)
    images, labels = recipe.load(job, "test")
    return _answers(converted, images), labels


def _convert(model: Any, recipe: RecipeModule, job: Job) -> bytes:
    """Whole-integer quantisation as in TensorFlow Lite's guide "Post-training integer quantization"."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([batch] for batch in recipe.calibration(job))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return cast(bytes, converter.convert())


def _answers(model: bytes, images: NDArray[np.float32]) -> NDArray[np.int64]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=len(os.sched_getaffinity(0)))
    interpreter.allocate_tensors()
    (given,), (asked,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    answers = []
    for image in images:
        quantised = np.clip(np.round(image / scale) + zero_point, 0, 255).astype(np.uint8)
        interpreter.set_tensor(given["index"], quantised[None])
        interpreter.invoke()
        answers.append(int(interpreter.get_tensor(asked["index"])[0].argmax()))
    return np.array(answers, np.int64)


if __name__ == "__main__":
    sys.exit(main())
