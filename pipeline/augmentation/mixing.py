"""Mixup and cutmix of a batch, pixels or activations, as TensorFlow operations."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from pipeline.augmentation.config import AugmentConfig

_PLANE_RANK = 4
# Gamma variates of a small alpha underflow; two noughts would make the share NaN.
_TINY = 1e-30


def mix(inputs: Any, targets: Any, seed: Any, config: AugmentConfig) -> tuple[Any, Any]:
    """Mix each example with another of its batch; each pair draws its own share.

    Args:
        inputs: (B, ...) pixels or activations. Cutmix needs (B, H, W, C): other ranks get mixup only, and stay as
            they are where the config asks for cutmix alone.
        targets: (B, classes) float32, rows that add to one.
        seed: (2,) integers; the same seed gives the same pairs and shares.
        config: ``mixup_alpha`` and ``cutmix_alpha``; with both, a batch draws one of the two with equal chance.

    Returns: inputs and targets mixed; inputs keep a floating dtype, integers become float32.
    """
    inputs = inputs if inputs.dtype.is_floating else tf.cast(inputs, tf.float32)
    cut = config.cutmix_alpha > 0 and inputs.shape.rank == _PLANE_RANK
    blend = config.mixup_alpha > 0
    if not cut and not blend:
        return inputs, targets
    # int32 and int64 seeds of the same value would split differently.
    seeds = tf.unstack(tf.random.experimental.stateless_split(tf.cast(seed, tf.int64), 3))
    batch = tf.shape(inputs)[0]
    # Turning the batch by a random number of places: never a photo with itself.
    turn = tf.random.stateless_uniform((), seeds[0], 1, tf.maximum(batch, 2), tf.int32)
    others = tf.roll(inputs, turn, axis=0)

    def mixup() -> tuple[Any, Any]:
        return _mixup(inputs, others, seeds[1], config.mixup_alpha)

    def cutmix() -> tuple[Any, Any]:
        return _cutmix(inputs, others, seeds[1], config.cutmix_alpha)

    if cut and blend:
        mixed, share = tf.cond(tf.random.stateless_uniform((), seeds[2]) < 0.5, mixup, cutmix)
    else:
        mixed, share = cutmix() if cut else mixup()
    share = share[:, None]
    return tf.ensure_shape(mixed, inputs.shape), share * targets + (1.0 - share) * tf.roll(targets, turn, axis=0)


def _mixup(inputs: Any, others: Any, seed: Any, alpha: float) -> tuple[Any, Any]:
    share = _beta(tf.shape(inputs)[0], seed, alpha)
    # Of the pair (a, b) as likely as (b, a), so nothing is lost, and no photo of the batch vanishes behind another.
    share = tf.maximum(share, 1.0 - share)
    weight = tf.cast(tf.reshape(share, (-1, *[1] * (inputs.shape.rank - 1))), inputs.dtype)
    return weight * inputs + (1 - weight) * others, share


def _cutmix(inputs: Any, others: Any, seed: Any, alpha: float) -> tuple[Any, Any]:
    """A box of the other picture over each; the share is what is left, counted after the box is cut to the plane."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    batch = tf.shape(inputs)[0]
    extent = tf.sqrt(1.0 - _beta(batch, seeds[0], alpha))
    centre = tf.random.stateless_uniform((2, batch), seeds[1])

    def covered(length: Any, middle: Any) -> Any:
        # In fractions of the side, so that activations of any size get the same boxes.
        cells = (tf.range(length, dtype=tf.float32) + 0.5) / tf.cast(length, tf.float32)
        return tf.abs(cells - middle[:, None]) < 0.5 * extent[:, None]

    down, across = covered(tf.shape(inputs)[1], centre[0]), covered(tf.shape(inputs)[2], centre[1])
    covered_share = tf.reduce_mean(tf.cast(down, tf.float32), 1) * tf.reduce_mean(tf.cast(across, tf.float32), 1)
    box = down[:, :, None, None] & across[:, None, :, None]
    return tf.where(box, others, inputs), 1.0 - covered_share


def _beta(batch: Any, seed: Any, alpha: float) -> Any:
    """(B,) float32, Beta(alpha, alpha)."""
    gamma = tf.random.stateless_gamma((batch, 2), seed, alpha) + _TINY
    return gamma[:, 0] / tf.reduce_sum(gamma, axis=1)
