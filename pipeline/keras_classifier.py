"""A trained tf_keras model behind the protocol of ``pipeline.fitted``. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray

from pipeline.backbones import Normalisation
from pipeline.explain import gradient_heatmaps, last_feature_layer
from pipeline.model import Predictor


class KerasClassifier:
    """A trained tf_keras classifier. Implements ``pipeline.fitted.Classifier``.

    Args:
        model: from ``build_classifier``.
        normalisation: of its backbone.
    """

    def __init__(self, model: tf_keras.Model, normalisation: Normalisation) -> None:
        self._model, self._normalisation = model, normalisation
        self._predictor = Predictor(model, normalisation)

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Classifier``."""
        return self._predictor(pixels)

    def weights(self) -> list[NDArray[Any]]:
        """See ``Classifier``."""
        return self._model.get_weights()  # type: ignore[no-any-return]

    def heatmaps(self, pixels: NDArray[np.uint8], wanted: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """See ``Classifier``; by Grad-CAM."""
        layer = last_feature_layer(self._model)
        return gradient_heatmaps(self._model, self._normalisation, pixels, wanted, layer)
