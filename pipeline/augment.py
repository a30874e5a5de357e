"""Random views of a batch of photos, as batched TensorFlow operations: one warp, one colour matrix."""

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

# Rec. 601 luma
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the random changes; each photo draws each value uniformly on its own."""

    flip: bool = True
    rotation_degrees: float = 15.0
    # log-uniform: 1.25 is from 25 % smaller to 25 % larger
    zoom: float = 1.25
    aspect: float = 1.1
    shift: float = 0.08  # fraction of the side
    brightness: float = 0.2  # gain 1 +- this
    contrast: float = 0.2
    saturation: float = 0.3
    channel: float = 0.06  # gain of each channel on its own: the colour of the light


def augment(images: Any, seed: Any, config: AugmentConfig) -> Any:
    """Draw one random view of each photo.

    images: (B, H, W, 3) uint8 or float32 RGB, 0..255.
    seed: (2,) integers; the same seed gives the same views.

    Returns: (B, H, W, 3) float32 RGB, 0..255.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    return _recolour(_warp(tf.cast(images, tf.float32), seeds[0], config), seeds[1], config)


def _warp(images: Any, seed: Any, config: AugmentConfig) -> Any:
    """Flip, rotate, zoom, stretch and shift in one bilinear resampling, the border mirrored."""
    shape = tf.shape(images)
    transforms = _transforms(shape[0], tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32), seed, config)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=shape[1:3],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def _transforms(batch: Any, height: Any, width: Any, seed: Any, config: AugmentConfig) -> Any:
    """(B, 8) rows a0 a1 a2 b0 b1 b2 0 0: the input's x is a0 x + a1 y + a2, its y is b0 x + b1 y + b2."""
    unit = tf.random.stateless_uniform((6, batch), seed, -1.0, 1.0)
    angle = unit[0] * (config.rotation_degrees * math.pi / 180.0)
    scale, aspect = config.zoom ** -unit[1], config.aspect ** (0.5 * unit[2])
    mirror = tf.sign(unit[3]) if config.flip else tf.ones_like(unit[3])
    a0, a1 = tf.cos(angle) * scale * aspect * mirror, -tf.sin(angle) * scale * aspect
    b0, b1 = tf.sin(angle) * scale / aspect * mirror, tf.cos(angle) * scale / aspect
    x, y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    a2 = x - a0 * x - a1 * y + unit[4] * config.shift * width
    b2 = y - b0 * x - b1 * y + unit[5] * config.shift * height
    zero = tf.zeros_like(angle)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


def _recolour(images: Any, seed: Any, config: AugmentConfig) -> Any:
    """Change brightness, contrast, saturation and the colour of the light by one affine map of RGB a photo."""
    unit = tf.random.stateless_uniform((6, tf.shape(images)[0]), seed, -1.0, 1.0)
    gain = (1.0 + config.brightness * unit[0])[:, None] * (1.0 + config.channel * tf.transpose(unit[3:6]))
    saturation = (1.0 + config.saturation * unit[2])[:, None, None]
    to_grey = tf.ones((3, 1)) * tf.constant([_LUMA])  # rows: every output channel is the luma
    matrix = gain[:, :, None] * (saturation * tf.eye(3) + (1.0 - saturation) * to_grey)
    contrast = (1.0 + config.contrast * unit[1])[:, None, None]
    mean = tf.reduce_mean(images, axis=(1, 2))[:, None, :]
    centre = tf.matmul(mean, matrix, transpose_b=True)
    pixels = tf.reshape(images, (tf.shape(images)[0], -1, 3))
    recoloured = tf.matmul(pixels, contrast * matrix, transpose_b=True) + (1.0 - contrast) * centre
    return tf.clip_by_value(tf.reshape(recoloured, tf.shape(images)), 0.0, 255.0)
