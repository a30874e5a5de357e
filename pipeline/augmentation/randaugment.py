"""RandAugment (Cubuk et al. 2019, arXiv:1909.13719) for a whole batch, ranges as in torchvision.

The operations drawn for a photo are merged by kind instead of run in the order of drawing: those that move pixels
join the one warp, those that scale colours the one colour map; solarise, posterise, autocontrast and equalise become
one table of tones. Two operations per photo then cost about as much as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.damage import change_some

_OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterise",
    "solarise",
    "autocontrast",
    "equalise",
)
_STRONGEST = 30.0
_MOST_SHEAR = 0.3
_MOST_TRANSLATION = 150.0 / 331.0  # fraction of the side
_MOST_ROTATION_DEGREES = 30.0
_MOST_FACTOR = 0.9
_MOST_BITS_LOST = 4.0


@dataclass(frozen=True, slots=True)
class Draws:
    """What was drawn for each photo; every field is (B,), float32 or bool. One, nought or False where not drawn.

    Attributes:
        posterise: steps between the tones that are left.
        solarise: the tone from which on tones are inverted.
    """

    shear_x: Any
    shear_y: Any
    translation_x: Any
    translation_y: Any
    rotation_degrees: Any
    brightness: Any
    contrast: Any
    saturation: Any
    sharpness: Any
    posterise: Any
    solarise: Any
    autocontrast: Any
    equalise: Any


def draw(batch: Any, seed: Any, config: AugmentConfig) -> Draws | None:
    """Draw the operations of each photo; None when the config asks for none."""
    if not config.randaugment_operations:
        return None
    shape = (batch, config.randaugment_operations)
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    index = tf.random.stateless_uniform(shape, seeds[0], 0, len(_OPERATIONS), tf.int32)
    direction = tf.where(tf.random.stateless_uniform(shape, seeds[1]) < 0.5, -1.0, 1.0)
    drawn = tf.one_hot(index, len(_OPERATIONS))
    often = dict(zip(_OPERATIONS, tf.unstack(tf.reduce_sum(drawn, axis=1), axis=1), strict=True))
    signed = dict(zip(_OPERATIONS, tf.unstack(tf.reduce_sum(drawn * direction[:, :, None], 1), axis=1), strict=True))
    strength = config.randaugment_magnitude / _STRONGEST

    def factor(name: str) -> Any:
        return tf.maximum(1.0 + _MOST_FACTOR * strength * signed[name], 0.0)

    return Draws(
        shear_x=_MOST_SHEAR * strength * signed["shear_x"],
        shear_y=_MOST_SHEAR * strength * signed["shear_y"],
        translation_x=_MOST_TRANSLATION * strength * signed["translate_x"],
        translation_y=_MOST_TRANSLATION * strength * signed["translate_y"],
        rotation_degrees=_MOST_ROTATION_DEGREES * strength * signed["rotate"],
        brightness=factor("brightness"),
        contrast=factor("contrast"),
        saturation=factor("saturation"),
        sharpness=factor("sharpness"),
        posterise=tf.where(often["posterise"] > 0, 2.0 ** round(_MOST_BITS_LOST * strength), 1.0),
        solarise=tf.where(often["solarise"] > 0, 255.0 * (1.0 - strength), 256.0),
        autocontrast=often["autocontrast"] > 0,
        equalise=often["equalise"] > 0,
    )


def change_tones(images: Any, drawn: Draws) -> Any:
    """Autocontrast, equalise, posterise and solarise, in this order, by one table for each channel of a photo."""
    chosen = drawn.autocontrast | drawn.equalise | (drawn.posterise > 1.0) | (drawn.solarise < 256.0)

    def changed(photos: Any, rows: Any) -> Any:
        shape = tf.shape(photos)
        channel = tf.reshape(tf.range(shape[0] * 3) * 256, (shape[0], 1, 1, 3))
        place = channel + tf.cast(photos + 0.5, tf.int32)
        counts = tf.math.bincount(tf.reshape(place, (-1,)), minlength=shape[0] * 768, maxlength=shape[0] * 768)
        tones = _tones(tf.cast(tf.reshape(counts, (shape[0], 3, 256)), tf.float32), drawn, rows)
        return tf.gather(tf.reshape(tones, (-1,)), place)

    return change_some(images, chosen, changed)


def _tones(counts: Any, drawn: Draws, rows: Any) -> Any:
    """(n, 3, 256) new tones for old ones, from how often each old one occurs."""

    def of(values: Any) -> Any:
        return tf.gather(values, rows)[:, None, None]

    plain = tf.range(256.0) + tf.zeros_like(counts)
    present = counts > 0
    low = tf.reduce_min(tf.where(present, plain, 255.0), axis=2, keepdims=True)
    high = tf.reduce_max(tf.where(present, plain, 0.0), axis=2, keepdims=True)
    stretched = tf.where(high > low, (plain - low) * 255.0 / tf.maximum(high - low, 1.0), plain)
    total, first = tf.reduce_sum(counts, axis=2, keepdims=True), tf.gather(counts, tf.cast(low, tf.int32), batch_dims=2)
    equal = tf.where(total > first, (tf.cumsum(counts, axis=2) - first) * 255.0 / tf.maximum(total - first, 1.0), plain)
    tones = tf.where(of(drawn.autocontrast), stretched, plain)
    tones = tf.clip_by_value(tf.where(of(drawn.equalise), equal, tones), 0.0, 255.0)
    step = of(drawn.posterise)
    tones = tf.where(step > 1.0, tf.floor(tones / step) * step, tones)
    return tf.where(tones >= of(drawn.solarise), 255.0 - tones, tones)


def sharpen(images: Any, drawn: Draws) -> Any:
    """Blend some photos with, or away from, a smoothed copy; 0..255. The outermost pixels stay."""
    smooth = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]])[:, :, None, None] / 13.0

    def sharpened(photos: Any, rows: Any) -> Any:
        inner = photos[:, 1:-1, 1:-1]
        blurred = tf.nn.depthwise_conv2d(photos, tf.tile(smooth, (1, 1, 3, 1)), (1, 1, 1, 1), "VALID")
        factor = tf.gather(drawn.sharpness, rows)[:, None, None, None]
        change = tf.pad((factor - 1.0) * (inner - blurred), ((0, 0), (1, 1), (1, 1), (0, 0)))
        return tf.clip_by_value(photos + change, 0.0, 255.0)

    return change_some(images, drawn.sharpness != 1.0, sharpened)
