"""The trained classifier as one function from raw pixels to probabilities, ready for any converter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.backbones import Normalisation, find_backbone
from pipeline.model import build_classifier, normalise
from pipeline.run import Run

INPUT_NAME = "pixels"


@dataclass(frozen=True, slots=True)
class FloatModel:
    """The trained model, the reference of every variant.

    Attributes:
        model: a tf_keras.Model on normalised pixels.
        normalisation: what lies between raw pixels and ``model``.
        size: (height, width).
    """

    model: tf_keras.Model
    normalisation: Normalisation
    size: tuple[int, int]

    def function(self, dtype: Any) -> Any:
        """A concrete function (1, height, width, 3) of ``dtype`` -> (1, classes) float32, normalisation included."""
        spec = tf.TensorSpec((1, *self.size, 3), dtype, INPUT_NAME)

        @tf.function(input_signature=[spec])
        def classify(pixels: Any) -> Any:
            return self.model(normalise(pixels, self.normalisation), training=False)

        return classify.get_concrete_function()


def load_float_model(run: Run) -> FloatModel:
    """Rebuild the classifier of a run with its weights."""
    record = run.record
    backbone = find_backbone(record.backbone)
    model = build_classifier(backbone, len(record.classes), record.preprocess.height)
    model.load_weights(str(run.weights))
    return FloatModel(model, backbone.normalisation, (record.preprocess.height, record.preprocess.width))


def with_full_range(calibration: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Calibration photos whose first holds both 0 and 255.

    Min-max calibration then gives the input a scale of exactly one, so that a pixel's byte is its quantised value.

    Args:
        calibration: (n, height, width, 3) uint8.
    """
    stretched: NDArray[np.uint8] = calibration.copy()
    stretched[0, 0, 0], stretched[0, 0, 1] = 0, 255
    return stretched
