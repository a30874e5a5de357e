"""Weights that find their cluster while they are trained: the straight-through estimator. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray


class Assign(tf_keras.callbacks.Callback):
    """Every step is computed with clustered weights and moves the unclustered ones behind them.

    Between steps the kernels hold, of each weight, its cluster's value; the weights themselves are kept here. A step's
    change is added to them (Bengio, Leonard and Courville 2013, arXiv:1308.3432), each goes to the nearest value, and
    every value becomes the mean magnitude of its weights, as in one round of k-means. It stands before all callbacks
    that look at the weights.

    Args:
        kernels: variables and their clustered values, which they take.
        keep_zeros: weights that are zero stay zero.
    """

    def __init__(self, kernels: Sequence[tuple[Any, NDArray[np.float32]]], keep_zeros: bool) -> None:
        super().__init__()
        kept = [_Kernel(kernel, clustered, keep_zeros) for kernel, clustered in kernels]

        @tf.function
        def advance() -> None:
            for one in kept:
                one.advance()

        self._advance: Callable[[], None] = advance

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Advance."""
        self._advance()


class _Kernel:
    def __init__(self, kernel: Any, clustered: NDArray[np.float32], keep_zeros: bool) -> None:
        self._kernel = kernel
        self._weights = tf.Variable(kernel, trainable=False)
        self._shown = tf.Variable(clustered, trainable=False)
        free = (clustered != 0) | (not keep_zeros)
        self._mask = tf.constant(free, tf.float32)
        self._values = tf.Variable(np.unique(np.abs(clustered[free])), trainable=False)
        kernel.assign(clustered)

    def advance(self) -> None:
        weights = self._weights.assign_add((self._kernel - self._shown) * self._mask)
        borders = (self._values[1:] + self._values[:-1]) / 2
        sizes, mask = tf.reshape(tf.abs(weights), [-1]), tf.reshape(self._mask, [-1])
        cluster = tf.searchsorted(borders, sizes)
        count = self._values.shape[0]
        members = tf.math.unsorted_segment_sum(mask, cluster, count)
        means = tf.math.unsorted_segment_sum(sizes * mask, cluster, count) / tf.maximum(members, 1.0)
        values = self._values.assign(tf.sort(tf.where(members > 0, means, self._values)))
        # Means of ordered intervals keep their order, so that a weight's cluster is still the same one.
        signs = tf.where(weights < 0, -self._mask, self._mask)
        shown = tf.reshape(tf.gather(values, cluster), self._kernel.shape) * signs
        self._kernel.assign(self._shown.assign(shown))
