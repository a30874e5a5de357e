"""Where training steps get their batches from: stored views of activations, or photos augmented as they come.

Order, views and mixing are functions of seed and epoch alone, so that a resumed training sees what the uninterrupted
one would have. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.mixing import mix
from pipeline.augmentation.views import augment
from pipeline.backbones import Normalisation
from pipeline.model import normalise

# Batches made ahead: the next is ready when a step ends.
_AHEAD = 4
_LARGEST_SEED = 2**31 - 1


class Source(Protocol):
    """Gives batches, epoch by epoch, without end."""

    @property
    def photos(self) -> int:
        """How many there are to choose from."""

    def dataset(self, batch: int, steps: int, first_epoch: int) -> tf.data.Dataset:
        """Batches of inputs and targets.

        Args:
            batch: photos in each.
            steps: batches per epoch.
            first_epoch: 0 at the start of a training.
        """


class CachedViews:
    """A random one of the stored views of each photo, mixed as asked for. Implements ``Source``.

    Args:
        views: (views, n, ...) float16 activations.
        targets: (views, n, t) float32, see ``pipeline.distillation.targets``.
        augmentation: only its mixing is of effect here; the views were augmented when they were made.
        seed: of order, views and mixing.
    """

    def __init__(
        self, views: NDArray[np.float16], targets: NDArray[np.float32], augmentation: AugmentConfig, seed: int
    ) -> None:
        self._views, self._targets, self._augmentation, self._seed = views, targets, augmentation, seed

    @property
    def photos(self) -> int:
        """See ``Source``."""
        return int(self._views.shape[1])

    def dataset(self, batch: int, steps: int, first_epoch: int) -> tf.data.Dataset:
        """See ``Source``."""

        def pick(chosen: NDArray[np.int64], random: np.random.Generator) -> tuple[Any, Any]:
            view = random.integers(len(self._views), size=len(chosen))
            return self._views[view, chosen], self._targets[view, chosen]

        def finish(inputs: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
            return mix(tf.cast(inputs, tf.float32), targets, seed, self._augmentation)

        shapes = ((batch, *self._views.shape[2:]), tf.float16), ((batch, self._targets.shape[2]), tf.float32)
        return _dataset(self.photos, batch, steps, first_epoch, self._seed, pick, shapes, finish)


class FreshViews:
    """A new random view of each photo, every time, mixed as asked for. Implements ``Source``.

    Args:
        pixels: (n, height, width, 3) uint8 RGB.
        targets: (n, t) float32.
        augmentation: distributions of the views and of the mixing.
        normalisation: of the backbone.
        seed: of order, views and mixing.
        teach: (batch, height, width, 3) float32 RGB 0..255 and targets -> targets, where a teacher completes them.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        targets: NDArray[np.float32],
        augmentation: AugmentConfig,
        normalisation: Normalisation,
        seed: int,
        teach: Callable[[Any, Any], Any] = lambda pixels, targets: targets,
    ) -> None:
        self._pixels, self._targets, self._seed = pixels, targets, seed
        self._augmentation, self._normalisation, self._teach = augmentation, normalisation, teach

    @property
    def photos(self) -> int:
        """See ``Source``."""
        return len(self._pixels)

    def dataset(self, batch: int, steps: int, first_epoch: int) -> tf.data.Dataset:
        """See ``Source``."""

        def pick(chosen: NDArray[np.int64], random: np.random.Generator) -> tuple[Any, Any]:
            return self._pixels[chosen], self._targets[chosen]

        def finish(pixels: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
            views = augment(pixels, seed, self._augmentation)
            targets = self._teach(views, targets)
            return mix(normalise(views, self._normalisation), targets, seed + 1, self._augmentation)

        shapes = ((batch, *self._pixels.shape[1:]), tf.uint8), ((batch, self._targets.shape[1]), tf.float32)
        return _dataset(self.photos, batch, steps, first_epoch, self._seed, pick, shapes, finish)


def _dataset(
    photos: int,
    batch: int,
    steps: int,
    first_epoch: int,
    seed: int,
    pick: Callable[[NDArray[np.int64], np.random.Generator], tuple[Any, Any]],
    shapes: tuple[Any, Any],
    finish: Callable[[Any, Any, Any], tuple[Any, Any]],
) -> tf.data.Dataset:
    def batches() -> Iterator[tuple[Any, Any, Any]]:
        for epoch in count(first_epoch):
            random = np.random.default_rng((seed, epoch))
            # A set smaller than a batch comes several times in it.
            rounds = -(-batch * steps // photos)
            order = np.concatenate([random.permutation(photos) for _ in range(rounds)])
            for step in range(steps):
                drawn = random.integers(_LARGEST_SEED, size=2, dtype=np.int32)
                yield (*pick(order[step * batch : (step + 1) * batch], random), drawn)

    signature = tuple(tf.TensorSpec(shape, dtype) for shape, dtype in (*shapes, ((2,), tf.int32)))
    source = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return source.map(finish, num_parallel_calls=2, deterministic=True).prefetch(_AHEAD)
