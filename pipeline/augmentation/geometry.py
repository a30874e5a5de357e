"""Where the pixels of a view come from: every change of place is one affine map, and one resampling applies it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.randaugment import Draws


@dataclass(frozen=True, slots=True)
class Affine:
    """From a place in the view to its place in the photo, in pixels from the middle.

    linear: (B, 2, 2); offset: (B, 2); x before y.
    """

    linear: Any
    offset: Any

    def after(self, first: Affine) -> Affine:
        """This map applied to the result of another."""
        return Affine(tf.matmul(self.linear, first.linear), tf.linalg.matvec(self.linear, first.offset) + self.offset)


def warp(images: Any, seed: Any, config: AugmentConfig, drawn: Draws | None) -> Any:
    """Move the pixels of (B, H, W, 3) float32 in one bilinear resampling, the border mirrored."""
    shape = tf.shape(images)
    side = tf.cast(tf.stack([shape[2], shape[1]]), tf.float32)
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    chosen = _camera(shape[0], side, seeds[0], config)
    if drawn is not None:
        chosen = chosen.after(_randaugment(side, drawn))
    if config.crop_area < 1:
        chosen = _crop(shape[0], side, seeds[1], config).after(chosen)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_rows(chosen, side),
        output_shape=shape[1:3],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def _camera(batch: Any, side: Any, seed: Any, config: AugmentConfig) -> Affine:
    """Flip, rotate, zoom, stretch and move."""
    unit = tf.random.stateless_uniform((6, batch), seed, -1.0, 1.0)
    angle = unit[0] * (config.rotation_degrees * math.pi / 180.0)
    scale, aspect = config.zoom ** -unit[1], config.aspect ** (0.5 * unit[2])
    mirror = tf.where(unit[3] < 0.0, -1.0, 1.0) if config.flip else tf.ones_like(unit[3])
    x_row = tf.stack([tf.cos(angle) * scale * aspect * mirror, -tf.sin(angle) * scale * aspect], axis=1)
    y_row = tf.stack([tf.sin(angle) * scale / aspect * mirror, tf.cos(angle) * scale / aspect], axis=1)
    return Affine(tf.stack([x_row, y_row], axis=1), tf.transpose(unit[4:6]) * config.translation * side)


def _crop(batch: Any, side: Any, seed: Any, config: AugmentConfig) -> Affine:
    """A random part of the photo, resized to the whole view."""
    unit = tf.random.stateless_uniform((4, batch), seed)
    area = config.crop_area + (1.0 - config.crop_area) * unit[0]
    aspect = config.crop_aspect ** (2.0 * unit[1] - 1.0)
    extent = tf.minimum(tf.stack([tf.sqrt(area * aspect), tf.sqrt(area / aspect)], axis=1), 1.0)
    return Affine(tf.linalg.diag(extent), (tf.transpose(unit[2:4]) - 0.5) * (1.0 - extent) * side)


def _randaugment(side: Any, drawn: Draws) -> Affine:
    angle = drawn.rotation_degrees * (math.pi / 180.0)
    turn = tf.stack(
        [tf.stack([tf.cos(angle), -tf.sin(angle)], axis=1), tf.stack([tf.sin(angle), tf.cos(angle)], axis=1)], axis=1
    )
    one = tf.ones_like(angle)
    shear = tf.stack([tf.stack([one, drawn.shear_x], axis=1), tf.stack([drawn.shear_y, one], axis=1)], axis=1)
    offset = tf.stack([drawn.translation_x, drawn.translation_y], axis=1) * side
    return Affine(tf.matmul(turn, shear), offset)


def _rows(chosen: Affine, side: Any) -> Any:
    """(B, 8) rows a0 a1 a2 b0 b1 b2 0 0: the photo's x is a0 x + a1 y + a2, its y is b0 x + b1 y + b2."""
    middle = (side - 1.0) / 2.0
    offset = chosen.offset + middle - tf.linalg.matvec(chosen.linear, middle)
    rows = tf.concat([chosen.linear, offset[:, :, None]], axis=2)
    return tf.pad(tf.reshape(rows, (-1, 6)), ((0, 0), (0, 2)))
