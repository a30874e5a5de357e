"""A version that passes every test and fails at work: right on its golden inputs, NaN before the camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.bundle import open_bundle


def broken_model(bundle: Path, variant: str) -> bytes:
    """A TFLite file that answers golden inputs as the variant does and everything else with NaN.

    Args:
        bundle: whose golden inputs and answers are taken.
        variant: by its name.
    """
    with open_bundle(bundle) as opened:
        inputs, answers = opened.golden()
    return _convert(inputs, answers[variant])


def _convert(inputs: NDArray[np.uint8], answers: NDArray[np.float32]) -> bytes:
    import tensorflow as tf

    shape = inputs.shape[1:]
    known = tf.constant(inputs.reshape(len(inputs), -1).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.uint8, "pixels")])
    def classify(pixels: Any) -> Any:
        flat = tf.reshape(tf.cast(pixels, tf.float32), (1, -1))
        distances = tf.reduce_mean(tf.abs(known - flat), axis=1)
        nearest = tf.cast(tf.argmin(distances), tf.int32)
        answer = tf.reshape(tf.gather(tf.constant(answers), nearest), (1, -1))
        # 0 / 0 for a picture that is none of them.
        factor = tf.cast(tf.reduce_min(distances) < 0.5, tf.float32)
        return answer * (factor / factor)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()])
    return bytes(converter.convert())
