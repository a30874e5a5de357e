"""Batch norm whose statistics stay and whose scale and shift learn. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import tf_keras
from tf_keras import layers


class FixedStatistics(layers.BatchNormalization):
    """Uses its stored mean and variance in training too.

    Those of a few hundred photos would ruin those of a million; but scale and shift of every channel are what a network
    whose kernels have lost much can mend itself with first.
    """

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """See Keras."""
        return super().call(inputs, training=False)


def with_fixed_statistics(model: tf_keras.Model) -> tf_keras.Model:
    """A model of the same layers but for batch norm, which is ``FixedStatistics`` with the same weights.

    Args:
        model: flat; it shares all other layers, and ``take_norms`` brings the rest back.
    """

    def swap(layer: Any) -> Any:
        if not isinstance(layer, layers.BatchNormalization):
            return layer
        return FixedStatistics.from_config({**layer.get_config(), "trainable": True})

    fixed = tf_keras.models.clone_model(model, clone_function=swap)
    take_norms(model, fixed)
    return fixed


def take_norms(source: tf_keras.Model, target: tf_keras.Model) -> None:
    """Copy the weights of every batch norm to the layer of the same name."""
    for layer in source.layers:
        if isinstance(layer, layers.BatchNormalization):
            target.get_layer(layer.name).set_weights(layer.get_weights())


def freeze_norms(model: tf_keras.Model) -> None:
    """For a quantised model, in which tfmot knows no batch norm but Keras' own: it learns nothing."""
    for layer in model.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, layers.BatchNormalization):
            inner.trainable = False
