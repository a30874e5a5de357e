"""The classifier of a finished Run: the float model that every variant is measured against. Imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec
import tf_keras

from pipeline.backbones import Normalisation, find_backbone
from pipeline.callbacks.state import unnumbered
from pipeline.callbacks.storage import read_tensors
from pipeline.config import HeadConfig
from pipeline.errors import RunError
from pipeline.model import Predictor, build_classifier
from pipeline.run import Run


# No slots: the predictor is kept.
@dataclass(frozen=True)
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

    @cached_property
    def predict(self) -> Predictor:
        """Probabilities, (n, classes) float32, for (n, height, width, 3) uint8 RGB."""
        return Predictor(self.model, self.normalisation)


def load_trained(run: Run) -> TrainedClassifier:
    """Rebuild the classifier of a run with its weights.

    Raises:
        RunError: the weights are missing or damaged.
    """
    record = run.record
    backbone = find_backbone(record.backbone)
    height, width = record.preprocess.height, record.preprocess.width
    head = HeadConfig(**msgspec.structs.asdict(record.head))
    model = build_classifier(backbone, len(record.classes), height, head)
    try:
        tensors, _ = read_tensors(run.weights)
        model.set_weights(unnumbered(tensors, "weight"))
    except (OSError, ValueError) as err:
        raise RunError(f"{run.weights}: missing or damaged ({err}); train again") from err
    return TrainedClassifier(model, backbone.normalisation, (height, width))
