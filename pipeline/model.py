"""The classifier: a backbone with a new head, as one flat graph. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

from pipeline.backbones import Backbone, Normalisation
from pipeline.backbones.base import NO_WEIGHTS
from pipeline.config import HeadConfig

LOGITS = "logits"
POOL = "head_pool"
_PREDICT_BATCH = 32


def build_classifier(
    backbone: Backbone, classes: int, size: int, head: HeadConfig, weights: str = NO_WEIGHTS
) -> tf_keras.Model:
    """Backbone, global average pooling, head, softmax.

    Flat, because nested models break quantisation-aware training.

    Args:
        backbone: from the registry.
        classes: how many.
        size: side of the square input in pixels.
        head: the layers between the pooled features and the probabilities.
        weights: for ``Backbone.load_weights``.

    Returns:
        (batch, size, size, 3) float32 normalised pixels -> (batch, classes) float32 probabilities.

    Raises:
        WeightsError: see ``Backbone.load_weights``.
    """
    base = backbone.build((size, size, 3))
    backbone.load_weights(base, weights)
    # Old networks flatten by themselves; then this layer does nothing and costs nothing.
    has_maps = len(base.output_shape) == 4
    pool = layers.GlobalAveragePooling2D(name=POOL) if has_maps else layers.Activation("linear", name=POOL)
    probabilities = add_head(pool(base.output), classes, head)
    return tf_keras.Model(base.input, probabilities, name="classifier")


def add_head(features: Any, classes: int, head: HeadConfig) -> Any:
    """The layers behind the pooled features.

    Args:
        features: symbolic tensor (batch, n).

    Returns:
        symbolic tensor (batch, classes) float32, probabilities, also where the network computes in 16 bits.
    """
    x = features
    if head.batch_norm:
        x = layers.BatchNormalization(name="head_bn")(x)
    if head.hidden:
        x = layers.Dense(head.hidden, activation="relu", name="head_hidden")(x)
    if head.dropout:
        x = layers.Dropout(head.dropout, name="head_dropout", rng_type="stateful")(x)
    x = layers.Dense(classes, name=LOGITS, dtype="float32")(x)
    return layers.Softmax(name="probabilities", dtype="float32")(x)


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
    return (values - tf.constant(normalisation.mean, tf.float32)) / tf.constant(normalisation.scale, tf.float32)


class Predictor:
    """The float model as a function of pixels; traced once however often it is called.

    Args:
        model: from ``build_classifier``; its weights are taken as they are at the time of each call.
        normalisation: of its backbone.
    """

    def __init__(self, model: tf_keras.Model, normalisation: Normalisation) -> None:
        @tf.function(reduce_retracing=True)
        def forward(batch: Any) -> Any:
            return model(normalise(batch, normalisation), training=False)

        self._forward, self._classes = forward, model.output_shape[-1]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, (n, classes) float32, for (n, height, width, 3) uint8 RGB."""
        starts = range(0, len(pixels), _PREDICT_BATCH)
        batches = [self._forward(tf.constant(pixels[start : start + _PREDICT_BATCH])).numpy() for start in starts]
        return np.concatenate(batches) if batches else np.empty((0, self._classes), np.float32)
