"""Twelve epochs of plain full fine-tuning, as a reference: what the network gives when time is no matter.

Photos are decoded once, to edgegraft's own pixels; batch norm is frozen; Adam with a cosine to zero; mirrored or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from device.contract import Fit, PreprocessSpec
from device.preprocess import preprocess_bytes
from recipes.job import Job

_BATCH = 32
_EPOCHS = 12
_LEARNING_RATE = 0.0003
_CALIBRATION_PHOTOS = 100


def train(job: Job) -> Any:
    """All layers but batch norm, from the first epoch on."""
    pixels, labels = _read(job, "train")
    validation = load(job, "val")
    base = tf.keras.applications.MobileNetV2(
        input_shape=(job.size, job.size, 3), alpha=job.alpha, include_top=False, weights=str(job.weights)
    )
    for layer in base.layers:
        layer.trainable = not isinstance(layer, tf.keras.layers.BatchNormalization)
    inputs = tf.keras.Input(shape=(job.size, job.size, 3))
    x = tf.keras.applications.mobilenet_v2.preprocess_input(inputs)
    x = tf.keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    x = tf.keras.layers.Dropout(0.2)(x)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(len(job.classes))(x))
    steps = _EPOCHS * -(-len(labels) // _BATCH)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(_batches(pixels, labels), epochs=_EPOCHS, validation_data=validation, verbose=2)
    return model


def load(job: Job, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Centre square, as edgegraft sees it, 0..255."""
    pixels, labels = _read(job, split)
    return pixels.astype(np.float32), labels


def calibration(job: Job) -> Iterable[NDArray[np.float32]]:
    """A hundred training photos, evenly over the classes."""
    pixels, _ = _read(job, "train")
    for index in np.linspace(0, len(pixels) - 1, _CALIBRATION_PHOTOS).astype(int):
        yield pixels[index][None].astype(np.float32)


def _read(job: Job, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    spec = PreprocessSpec(height=job.size, width=job.size, fit=Fit.CENTRE_CROP)
    pixels, labels = [], []
    for label, name in enumerate(job.classes):
        for path in sorted((job.photos / split / name).iterdir()):
            pixels.append(preprocess_bytes(path.read_bytes(), spec))
            labels.append(label)
    return np.stack(pixels), np.array(labels, np.int64)


def _batches(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Any:
    # Batches of uint8 are cast and mirrored by the graph: a quarter of the memory of floats.
    dataset = tf.data.Dataset.from_tensor_slices((pixels, labels)).shuffle(len(labels)).batch(_BATCH)
    return dataset.map(_mirrored, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _mirrored(pixels: Any, labels: Any) -> tuple[Any, Any]:
    images = tf.map_fn(tf.image.random_flip_left_right, pixels)
    return tf.cast(images, tf.float32), labels
