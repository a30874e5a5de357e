"""Classifiers as other people write them: in either format, layout, colour order and scale, ending in logits or not.

All answer with the nearest of five colours, a linear model whose constant term makes it depend on the scale of its
pixels: fed otherwise than it wants, it answers wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.backbones.base import Normalisation

# RGB, 0..255. Some differ by brightness, some by the order of colours.
COLOURS = {
    "red": (220, 40, 30),
    "rust": (90, 15, 10),
    "sky": (30, 120, 230),
    "navy": (10, 25, 95),
    "cream": (240, 230, 200),
}
CLASSES = tuple(COLOURS)
SIDE = 16


@dataclass(frozen=True)
class Taste:
    """How a model wants its pixels and what it ends in."""

    normalisation: Normalisation
    nchw: bool = False
    softmax: bool = True


def draw_photos(root: Path, per_class: int) -> Path:
    """A folder per colour with noisy plain pictures, all different."""
    random = np.random.default_rng(4)
    for name, rgb in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            picture = np.clip(random.normal(rgb[::-1], 25, (20, 24, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / name / f"{number}.png"), picture)
    return root


def write_labels(path: Path, names: tuple[str, ...] = CLASSES) -> Path:
    """One name a line."""
    path.write_text("\n".join(names) + "\n")
    return path


def weights_of(normalisation: Normalisation) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(3, classes) and (classes,): logits that fall with the square of the distance to each colour."""
    colours = np.array(list(COLOURS.values()), np.float64)
    if normalisation.bgr:
        colours = colours[:, ::-1]
    points = (colours - normalisation.mean) / normalisation.scale
    # Equally sharp whatever the scale.
    sharpness = 8.0 * (np.mean(normalisation.scale) / 127.5) ** 2
    return (2 * sharpness * points.T).astype(np.float32), (-sharpness * (points**2).sum(axis=1)).astype(np.float32)


def onnx_classifier(taste: Taste, batch: Any = "batch", dtype: int = 1, tail: tuple[Any, ...] = ()) -> Any:
    """An ONNX model; ``dtype`` 10 is float16. ``tail`` are further nodes, read and written by no other."""
    from onnx import helper, numpy_helper

    weights, bias = weights_of(taste.normalisation)
    kind = np.float16 if dtype == 10 else np.float32
    shape = [batch, 3, "h", "w"] if taste.nchw else [batch, SIDE, SIDE, 3]
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[2, 3] if taste.nchw else [1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    if taste.softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["answer"], axis=1))
    graph = helper.make_graph(
        [*nodes, *tail],
        "colours",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        [helper.make_tensor_value_info("answer" if taste.softmax else "logits", dtype, [batch, len(CLASSES)])],
        [numpy_helper.from_array(weights.astype(kind), "weights"), numpy_helper.from_array(bias.astype(kind), "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def tflite_classifier(taste: Taste, integer: str = "") -> bytes:
    """A TFLite model; ``integer`` is the type of input and output of an all-integer one. Takes seconds."""
    import tensorflow as tf

    weights, bias = weights_of(taste.normalisation)
    # A free batch, as most have it.
    shape = (None, 3, SIDE, SIDE) if taste.nchw else (None, SIDE, SIDE, 3)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, "x")])
    def classify(pixels: Any) -> Any:
        means = tf.reduce_mean(pixels, axis=(2, 3) if taste.nchw else (1, 2))
        logits = tf.matmul(means, weights) + bias
        return tf.nn.softmax(logits) if taste.softmax else logits

    converter = tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()])
    if integer:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _calibration(taste)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, integer)
    return bytes(converter.convert())


def _calibration(taste: Taste) -> Iterator[list[NDArray[np.float32]]]:
    for colour in ((0, 0, 0), (255, 255, 255), *COLOURS.values()):
        picture = np.full((1, SIDE, SIDE, 3), colour[::-1] if taste.normalisation.bgr else colour, np.float32)
        normal = (picture - taste.normalisation.mean) / taste.normalisation.scale
        yield [np.asarray(normal.transpose(0, 3, 1, 2) if taste.nchw else normal, np.float32)]
