"""Brightness, contrast, saturation, hue and the colour of the light: one affine map of RGB for each photo."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.randaugment import Draws

# NTSC 1953; the first row is Rec. 601 luma.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def recolour(images: Any, seed: Any, config: AugmentConfig, drawn: Draws | None) -> Any:
    """Change the colours of (B, H, W, 3) float32, 0..255; same shape, dtype and range."""
    shape = tf.shape(images)
    unit = tf.random.stateless_uniform((7, shape[0]), seed, -1.0, 1.0)
    brightness, contrast = 1.0 + config.brightness * unit[0], 1.0 + config.contrast * unit[1]
    saturation = 1.0 + config.saturation * unit[2]
    if drawn is not None:
        brightness, contrast = brightness * drawn.brightness, contrast * drawn.contrast
        saturation = saturation * drawn.saturation
    gain = brightness[:, None] * (1.0 + config.channel_gain * tf.transpose(unit[3:6]))
    matrix = gain[:, :, None] * _chroma(saturation, unit[6] * (config.hue_degrees * math.pi / 180.0))
    pixels = tf.reshape(images, (shape[0], shape[1] * shape[2], 3))
    # As a product: several times quicker than reduce_mean over such short rows.
    mean = tf.matmul(tf.ones((shape[0], 1, shape[1] * shape[2])), pixels) / tf.cast(shape[1] * shape[2], tf.float32)
    contrast = contrast[:, None, None]
    centre = tf.matmul(mean, matrix, transpose_b=True)
    recoloured = tf.matmul(pixels, contrast * matrix, transpose_b=True) + (1.0 - contrast) * centre
    return tf.clip_by_value(tf.reshape(recoloured, shape), 0.0, 255.0)


def _chroma(saturation: Any, angle: Any) -> Any:
    """(B, 3, 3): turn and scale the chroma plane, keep the luma."""
    zero, one = tf.zeros_like(angle), tf.ones_like(angle)
    cosine, sine = saturation * tf.cos(angle), saturation * tf.sin(angle)
    rows = [(one, zero, zero), (zero, cosine, -sine), (zero, sine, cosine)]
    turn = tf.stack([tf.stack(row, axis=1) for row in rows], axis=1)
    return tf.constant(_FROM_YIQ) @ turn @ tf.constant(_TO_YIQ)
