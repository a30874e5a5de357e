"""Learning from a teacher's answers beside the labels (Hinton, Vinyals and Dean 2015, arXiv:1503.02531).

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.errors import TrainingError
from pipeline.extract import Extractor
from pipeline.frozen import convert_frozen
from pipeline.model import normalise
from pipeline.run import Run
from pipeline.trained import TrainedClassifier, load_trained

# Softens both answers, so that the small probabilities count too.
TEMPERATURE = 2.0
# Share of the loss that is the teacher's; the labels have the rest.
_TEACHER_SHARE = 0.7
_LEAST = 1e-7


class Teacher:
    """A finished run that gives soft targets.

    Args:
        run: the teacher.
        classes: of the student, in order.
        size: (height, width) of the student's photos; they are resized to the teacher's.

    Raises:
        TrainingError: the teacher knows other classes.
        RunError: its weights are missing or damaged.
    """

    def __init__(self, run: Run, classes: tuple[str, ...], size: tuple[int, int]) -> None:
        if run.record.classes != classes:
            raise TrainingError(
                f"{run.folder}: the teacher knows {', '.join(run.record.classes)}; the photos are of "
                f"{', '.join(classes)}: train a teacher on the same classes"
            )
        self._trained = load_trained(run)
        self._size = size
        self._extractor: Extractor | None = None

    def soften(self, pixels: Any) -> Any:
        """Softened probabilities of (batch, height, width, 3) float32 RGB 0..255, as a graph operation."""
        return soften(_answers(self._trained, pixels), TEMPERATURE)

    def soft_targets(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes) float32 softened probabilities of (n, height, width, 3) uint8 RGB, by LiteRT."""
        if self._extractor is None:
            self._extractor = Extractor(convert_frozen(self.soften, (1, *self._size, 3), tf.uint8))
        return np.stack(list(self._extractor(pixels)))


def _answers(trained: TrainedClassifier, pixels: Any) -> Any:
    if tuple(pixels.shape[1:3]) != trained.size:
        pixels = tf.image.resize(tf.cast(pixels, tf.float32), trained.size)
    return trained.model(normalise(pixels, trained.normalisation), training=False)


def soften(probabilities: Any, temperature: float) -> Any:
    """Softmax of the logits divided by a temperature; the logarithms of the probabilities serve as logits."""
    return tf.nn.softmax(tf.math.log(tf.maximum(probabilities, _LEAST)) / temperature)


def hard_targets(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """(n, classes) float32, one-hot."""
    return np.eye(classes, dtype=np.float32)[labels]


def make_loss(classes: int, label_smoothing: float, taught: bool) -> Callable[[Any, Any], Any]:
    """Cross-entropy with the labels, and with the teacher's answers where there is one.

    Args:
        classes: how many.
        label_smoothing: share of a label that is spread over all classes.
        taught: whether targets are (batch, 2 * classes), the labels' and then the teacher's.
    """
    if not taught:
        return tf_keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)  # type: ignore[no-any-return]
    # Not reduced here: within another loss Keras refuses to where several devices train.
    labelled = tf_keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing, reduction="none")

    def loss(targets: Any, probabilities: Any) -> Any:
        hard, soft = targets[:, :classes], targets[:, classes:]
        answers = tf.maximum(soften(probabilities, TEMPERATURE), _LEAST)
        imitation = -tf.reduce_sum(soft * tf.math.log(answers), axis=1)
        # Gradients of the softened answers shrink by the square of the temperature.
        each = (1 - _TEACHER_SHARE) * labelled(hard, probabilities) + _TEACHER_SHARE * TEMPERATURE**2 * imitation
        return tf.reduce_mean(each)

    return loss
