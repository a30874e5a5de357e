"""What spoils a photo: blur, noise, a piece cut out. Each befalls some photos of a batch; only those are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipeline.augmentation.config import AugmentConfig

_GREY = 127.5


def change_some(images: Any, chosen: Any, change: Callable[[Any, Any], Any]) -> Any:
    """Apply a change to some photos only.

    Args:
        images: (B, H, W, 3) float32.
        chosen: (B,) bool.
        change: from photos (n, H, W, 3) and their places in the batch (n,) to the changed photos; n is 1 or more.
    """

    def changed() -> Any:
        rows = tf.where(chosen)[:, 0]
        return tf.tensor_scatter_nd_update(images, rows[:, None], change(tf.gather(images, rows), rows))

    return tf.cond(tf.reduce_any(chosen), changed, lambda: images)


def blur(images: Any, seed: Any, config: AugmentConfig) -> Any:
    """Gaussian blur of some photos, the border mirrored."""
    shape = tf.shape(images)
    unit = tf.random.stateless_uniform((2, shape[0]), seed)
    side = tf.cast(tf.minimum(shape[1], shape[2]), tf.float32)
    # A sigma of a twentieth of a pixel changes nothing; none at all would divide by zero.
    sigma = tf.maximum(unit[1] * config.blur_sigma * side, 0.05)
    return change_some(
        images, unit[0] < config.blur_probability, lambda photos, rows: _blurred(photos, tf.gather(sigma, rows))
    )


def _blurred(photos: Any, sigma: Any) -> Any:
    shape = tf.shape(photos)
    radius = tf.cast(tf.math.ceil(3.0 * tf.reduce_max(sigma)), tf.int32)
    radius = tf.minimum(radius, tf.minimum(shape[1], shape[2]) - 1)
    distance = tf.cast(tf.range(-radius, radius + 1), tf.float32)
    kernel = tf.exp(-0.5 * (distance[:, None] / sigma) ** 2)
    kernel = tf.repeat(kernel / tf.reduce_sum(kernel, axis=0), 3, axis=1)[:, None, :, None]
    # Every photo has a kernel of its own: they become the channels of one picture.
    channels = tf.reshape(tf.transpose(photos, (1, 2, 0, 3)), (1, shape[1], shape[2], shape[0] * 3))
    margin = tf.stack([radius, radius])
    none = tf.zeros_like(margin)
    channels = tf.pad(channels, tf.stack([none, margin, margin, none]), "REFLECT")
    channels = tf.nn.depthwise_conv2d(channels, kernel, (1, 1, 1, 1), "VALID")
    channels = tf.nn.depthwise_conv2d(channels, tf.transpose(kernel, (1, 0, 2, 3)), (1, 1, 1, 1), "VALID")
    return tf.transpose(tf.reshape(channels, (shape[1], shape[2], shape[0], 3)), (2, 0, 1, 3))


def noise(images: Any, seed: Any, config: AugmentConfig) -> Any:
    """Gaussian noise on some photos, clipped to 0..255."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    unit = tf.random.stateless_uniform((2, tf.shape(images)[0]), seeds[0])

    def noisy(photos: Any, rows: Any) -> Any:
        sigma = tf.gather(unit[1] * config.noise_sigma, rows)[:, None, None, None]
        return tf.clip_by_value(photos + sigma * tf.random.stateless_normal(tf.shape(photos), seeds[1]), 0.0, 255.0)

    return change_some(images, unit[0] < config.noise_probability, noisy)


def cut_out(images: Any, seed: Any, config: AugmentConfig) -> Any:
    """One grey square on some photos."""
    shape = tf.shape(images)
    unit = tf.random.stateless_uniform((3, shape[0]), seed)
    half = 0.5 * config.cutout_side * tf.cast(tf.minimum(shape[1], shape[2]), tf.float32)

    def covered(length: Any, centre: Any) -> Any:
        side = tf.cast(length, tf.float32)
        return tf.abs(tf.range(length, dtype=tf.float32) + 0.5 - centre[:, None] * side) < half

    def cut(photos: Any, rows: Any) -> Any:
        down, across = (covered(shape[axis], tf.gather(unit[axis], rows)) for axis in (1, 2))
        return tf.where(down[:, :, None, None] & across[:, None, :, None], _GREY, photos)

    return change_some(images, unit[0] < config.cutout_probability, cut)
