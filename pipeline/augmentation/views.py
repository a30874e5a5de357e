"""Random views of a batch of photos, as TensorFlow operations: one warp for all geometry, one colour matrix."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from pipeline.augmentation import randaugment
from pipeline.augmentation.colour import recolour
from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.damage import blur, cut_out, noise
from pipeline.augmentation.geometry import warp


def augment(images: Any, seed: Any, config: AugmentConfig) -> Any:
    """Draw one random view of each photo. Only what the config asks for is in the graph.

    Args:
        images: (B, H, W, 3) uint8 or float32 RGB, 0..255; sides of 32 or more.
        seed: (2,) integers; the same seed gives the same views.
        config: distributions of the changes.

    Returns: (B, H, W, 3) float32 RGB, 0..255.
    """
    # int32 and int64 seeds of the same value would split differently.
    seeds = tf.unstack(tf.random.experimental.stateless_split(tf.cast(seed, tf.int64), 6))
    views = tf.cast(images, tf.float32)
    drawn = randaugment.draw(tf.shape(images)[0], seeds[0], config)
    if config.moves:
        views = warp(views, seeds[1], config, drawn)
    if drawn is not None:
        views = randaugment.sharpen(randaugment.change_tones(views, drawn), drawn)
    if config.recolours:
        views = recolour(views, seeds[2], config, drawn)
    if config.blur_sigma and config.blur_probability:
        views = blur(views, seeds[3], config)
    if config.noise_sigma and config.noise_probability:
        views = noise(views, seeds[4], config)
    if config.cutout_side and config.cutout_probability:
        views = cut_out(views, seeds[5], config)
    return tf.ensure_shape(views, images.shape)
