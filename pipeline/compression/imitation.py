"""A compressed network learns to be the network that it comes from. Imports TensorFlow.

Of a few hundred photos, what the float network makes of each, a thousand features, says more than a label or five
probabilities (Romero et al., "FitNets", 2014, arXiv:1412.6550).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras

from pipeline.compression.quantisation import QUANTISED
from pipeline.distillation import TEMPERATURE, make_loss, soften
from pipeline.model import POOL, normalise
from pipeline.trained import TrainedClassifier

# Against the loss of the answers; the share of the features' variance that is not matched lies between 0 and 1.
_FEATURES_WEIGHT = 3.0


def with_features(model: tf_keras.Model) -> tf_keras.Model:
    """A model of the same layers: (batch, classes + features), the probabilities and then the pooled features.

    Args:
        model: from ``build_classifier``, or a wrapped or quantised form of it.
    """
    features = model.output
    # Models that share layers share their names as well: only the way back from the output leads to this one's tensor.
    while features.node.layer.name.removeprefix(QUANTISED) != POOL:
        [features] = features.node.keras_inputs
    both = tf_keras.layers.Concatenate(name="answers_and_features")([model.output, features])
    return tf_keras.Model(model.input, both)


def targets_from(teacher: TrainedClassifier) -> Callable[[Any, Any], Any]:
    """What ``FreshViews`` calls to complete targets: labels, softened answers, features.

    Args:
        teacher: the float model.
    """
    both, classes = with_features(teacher.model), teacher.model.output_shape[-1]

    def teach(pixels: Any, hard: Any) -> Any:
        known = both(normalise(pixels, teacher.normalisation), training=False)
        return tf.concat([hard, soften(known[:, :classes], TEMPERATURE), known[:, classes:]], axis=1)

    return teach


def imitation_loss(classes: int, label_smoothing: float) -> Callable[[Any, Any], Any]:
    """Of the answers as in ``pipeline.distillation``, and the share of the features' variance that is not matched.

    Args:
        classes: how many.
        label_smoothing: share of a label that is spread over all classes.
    """
    of_answers = make_loss(classes, label_smoothing, taught=True)

    def loss(targets: Any, outputs: Any) -> Any:
        wanted, found = targets[:, 2 * classes :], outputs[:, classes:]
        spread = tf.reduce_sum(tf.math.squared_difference(wanted, tf.reduce_mean(wanted, axis=0)))
        unmatched = tf.reduce_sum(tf.math.squared_difference(wanted, found)) / tf.maximum(spread, 1e-6)
        return of_answers(targets[:, : 2 * classes], outputs[:, :classes]) + _FEATURES_WEIGHT * unmatched

    return loss
