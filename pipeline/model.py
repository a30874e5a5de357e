"""The classifier: a backbone with a new head, as one flat graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

from pipeline.backbones import Backbone, Normalisation

LOGITS = "logits"
POOL = "head_pool"
_PREDICT_BATCH = 32


def build_classifier(
    backbone: Backbone, classes: int, size: int, weights: str | None = None, dropout: float = 0.0
) -> tf_keras.Model:
    """Backbone, global average pooling, dropout, one dense layer, softmax.

    Flat, because nested models break quantisation-aware training.

    Args:
        backbone: from the registry.
        classes: how many.
        size: side of the square input in pixels.
        weights: for ``Backbone.load_weights``; None leaves them random, to be loaded as a whole.
        dropout: share of features dropped in training.

    Returns:
        (batch, size, size, 3) float32 normalised pixels -> (batch, classes) float32 probabilities.

    Raises:
        WeightsError: see ``Backbone.load_weights``.
    """
    base = backbone.build((size, size, 3))
    if weights is not None:
        backbone.load_weights(base, weights)
    x = layers.GlobalAveragePooling2D(name=POOL)(base.output)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    x = layers.Dense(classes, name=LOGITS)(x)
    return tf_keras.Model(base.input, layers.Softmax(name="probabilities")(x), name="classifier")


def normalise(pixels: Any, normalisation: Normalisation) -> Any:
    """Pixels as the backbone's weights expect them.

    Args:
        pixels: tensor (batch, height, width, 3), RGB, 0..255, any numeric dtype.

    Returns:
        the same shape, float32.
    """
    values = tf.cast(pixels, tf.float32)
    if normalisation.bgr:
        values = values[..., ::-1]
    return (values - tf.constant(normalisation.mean, tf.float32)) / normalisation.scale


def predict(model: tf_keras.Model, pixels: NDArray[np.uint8], normalisation: Normalisation) -> NDArray[np.float32]:
    """Probabilities of the float model.

    Args:
        model: from ``build_classifier``.
        pixels: (n, height, width, 3) uint8 RGB.

    Returns:
        (n, classes) float32.
    """

    @tf.function(reduce_retracing=True)
    def forward(batch: Any) -> Any:
        return model(normalise(batch, normalisation), training=False)

    batches = [
        forward(tf.constant(pixels[start : start + _PREDICT_BATCH])).numpy()
        for start in range(0, len(pixels), _PREDICT_BATCH)
    ]
    return np.concatenate(batches) if batches else np.empty((0, model.output_shape[-1]), np.float32)
