"""The classifier of a finished Run: the float model that every variant is measured against. Imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tf_keras
from numpy.typing import NDArray

from pipeline.backbones import Normalisation, find_backbone
from pipeline.errors import RunError
from pipeline.model import build_classifier, predict
from pipeline.run import Run


@dataclass(frozen=True, slots=True)
class TrainedClassifier:
    """A trained model with what lies between raw pixels and it.

    Attributes:
        model: a tf_keras.Model on normalised pixels.
        normalisation: of its backbone.
        size: (height, width) of the input.
    """

    model: tf_keras.Model
    normalisation: Normalisation
    size: tuple[int, int]

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, (n, classes) float32, for (n, height, width, 3) uint8 RGB."""
        return predict(self.model, pixels, self.normalisation)


def load_trained(run: Run) -> TrainedClassifier:
    """Rebuild the classifier of a run with its weights.

    Raises:
        RunError: the weights are missing or damaged.
    """
    record = run.record
    backbone = find_backbone(record.backbone)
    height, width = record.preprocess.height, record.preprocess.width
    model = build_classifier(backbone, len(record.classes), height)
    try:
        model.load_weights(str(run.weights))
    except (OSError, ValueError, KeyError, IndexError) as err:
        raise RunError(f"{run.weights}: missing or damaged; train again") from err
    return TrainedClassifier(model, backbone.normalisation, (height, width))
