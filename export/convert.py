"""The trained classifier as one function from raw pixels to probabilities, ready for any converter."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.frozen import frozen_function
from pipeline.model import normalise
from pipeline.trained import TrainedClassifier

INPUT_NAME = "pixels"


def pixels_to_probabilities(trained: TrainedClassifier, dtype: Any) -> Any:
    """The classifier from raw pixels on, normalisation included, its weights as constants.

    Args:
        trained: of a run.
        dtype: of the input, a TensorFlow type.

    Returns:
        a concrete function, (1, height, width, 3) of ``dtype`` -> (1, classes) float32.
    """

    def classify(pixels: Any) -> Any:
        return trained.model(normalise(pixels, trained.normalisation), training=False)

    return frozen_function(classify, (1, *trained.size, 3), dtype, INPUT_NAME)


def input_spec(trained: TrainedClassifier, dtype: Any) -> Any:
    """The one input of every variant."""
    return tf.TensorSpec((1, *trained.size, 3), dtype, INPUT_NAME)


def with_full_range(calibration: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Calibration photos whose first holds both 0 and 255.

    Min-max calibration then gives the input a scale of exactly one, so that a pixel's byte is its quantised value.

    Args:
        calibration: (n, height, width, 3) uint8.
    """
    stretched: NDArray[np.uint8] = calibration.copy()
    stretched[0, 0, 0], stretched[0, 0, 1] = 0, 255
    return stretched
