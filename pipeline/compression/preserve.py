"""What earlier steps did to the kernels stays while they are trained on. Imports TensorFlow.

Zeros stay zero, and weights of one cluster go on sharing one value (Han, Mao and Dally, "Deep Compression", 2015,
arXiv:1510.00149). Both are linear projections, made after every step: an average of weights that keep to them keeps to
them too. tfmot's own schemes for this (PQAT, CQAT, PCQAT) put every weight into the graph three times and look for its
nearest centroid in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.learning_rate import LayerwiseAdamW


class Projection(Protocol):
    """The nearest kernel that keeps to a structure."""

    def __call__(self, kernel: Any) -> Any:
        """A tensor of the kernel's shape."""


class Masked:
    """Zeros stay zero. Implements ``Projection``.

    Args:
        kernel: its zeros count.
    """

    def __init__(self, kernel: NDArray[np.float32]) -> None:
        self._mask = tf.constant(kernel != 0, tf.float32)

    def __call__(self, kernel: Any) -> Any:
        """See ``Projection``."""
        return kernel * self._mask


class Tied:
    """Weights of equal magnitude stay so, each with its sign, and zeros zero. Implements ``Projection``.

    Args:
        kernel: of few different values.
    """

    def __init__(self, kernel: NDArray[np.float32]) -> None:
        values, cluster, counts = np.unique(np.abs(kernel), return_inverse=True, return_counts=True)
        self._signs = tf.constant(np.where(kernel < 0, -1.0, 1.0), tf.float32)
        self._cluster = tf.constant(cluster.reshape(-1), tf.int32)
        self._share = tf.constant(np.where(values == 0, 0.0, 1.0 / counts), tf.float32)
        self._count = len(values)

    def __call__(self, kernel: Any) -> Any:
        """See ``Projection``."""
        magnitudes = tf.reshape(kernel * self._signs, [-1])
        means = tf.math.unsorted_segment_sum(magnitudes, self._cluster, self._count) * self._share
        return tf.reshape(tf.gather(means, self._cluster), kernel.shape) * self._signs


class Preserve(tf_keras.callbacks.Callback):
    """Projects kernels after every step; stands before all callbacks that look at the weights.

    Args:
        kernels: variables by the name of their layer.
        projections: by the name of the layer.
    """

    def __init__(self, kernels: Mapping[str, Any], projections: Mapping[str, Projection]) -> None:
        super().__init__()
        pairs = [(kernels[name], projection) for name, projection in projections.items()]

        @tf.function
        def project() -> None:
            for kernel, projection in pairs:
                kernel.assign(projection(kernel))

        self._project: Callable[[], None] = project
        self.by_variable = {kernel.name: projection for kernel, projection in pairs}

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Project."""
        self._project()


class ProjectedAdamW(LayerwiseAdamW):
    """AdamW on gradients that keep to a structure.

    Weights that share a value must move together: Adam would divide the gradient of each by its own size, and in the
    mean over a cluster the steps would cancel out.

    Args:
        projections: by name of the variable.
        learning_rate: a number or a schedule.
    """

    def __init__(self, projections: Mapping[str, Projection], learning_rate: Any) -> None:
        super().__init__({}, learning_rate, weight_decay=0.0, name="ProjectedAdamW")
        self._projections = self._no_dependency(dict(projections))

    def update_step(self, gradient: Any, variable: Any) -> None:
        """See Keras."""
        projection = self._projections.get(variable.name)
        super().update_step(gradient if projection is None else projection(gradient), variable)
