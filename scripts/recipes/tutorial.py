"""TensorFlow's tutorial "Transfer learning and fine-tuning" (tensorflow.org/tutorials/images/transfer_learning).

Differs from it where the task does: 224 pixels in place of 160, several classes (one score each, sparse cross-entropy)
in place of two, and width multiplier and weights as given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recipes.job import Job

_BATCH = 32
_EPOCHS = 10
_FINE_TUNE_EPOCHS = 10
_LEARNING_RATE = 0.0001
_FINE_TUNE_AT = 100
_CALIBRATION_PHOTOS = 100


def train(job: Job) -> Any:
    """Head for ten epochs, then everything from layer 100 up for ten more."""
    train_set, validation = (
        _dataset(job, split, shuffle=True).prefetch(tf.data.AUTOTUNE) for split in ("train", "val")
    )
    base = tf.keras.applications.MobileNetV2(
        input_shape=(job.size, job.size, 3), alpha=job.alpha, include_top=False, weights=str(job.weights)
    )
    base.trainable = False
    model = _classifier(base, job)
    _compile(model, tf.keras.optimizers.Adam(learning_rate=_LEARNING_RATE))
    model.evaluate(validation, verbose=2)
    history = model.fit(train_set, epochs=_EPOCHS, validation_data=validation, verbose=2)

    base.trainable = True
    for layer in base.layers[:_FINE_TUNE_AT]:
        layer.trainable = False
    _compile(model, tf.keras.optimizers.RMSprop(learning_rate=_LEARNING_RATE / 10))
    model.fit(
        train_set,
        epochs=_EPOCHS + _FINE_TUNE_EPOCHS,
        initial_epoch=len(history.epoch),
        validation_data=validation,
        verbose=2,
    )
    return model


def load(job: Job, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Stretched to the square, bilinear, 0..255."""
    images, labels = zip(*_dataset(job, split, shuffle=False).as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels).astype(np.int64)


def calibration(job: Job) -> Iterable[NDArray[np.float32]]:
    """A hundred training photos in random order, as TensorFlow Lite's guide to integer quantisation takes them."""
    photos = _dataset(job, "train", shuffle=True).unbatch().batch(1).take(_CALIBRATION_PHOTOS)
    for image, _ in photos.as_numpy_iterator():
        yield image


def _dataset(job: Job, split: str, shuffle: bool) -> Any:
    return tf.keras.utils.image_dataset_from_directory(
        job.photos / split, shuffle=shuffle, batch_size=_BATCH, image_size=(job.size, job.size)
    )


def _classifier(base: Any, job: Job) -> Any:
    augmentation = tf.keras.Sequential([tf.keras.layers.RandomFlip("horizontal"), tf.keras.layers.RandomRotation(0.2)])
    inputs = tf.keras.Input(shape=(job.size, job.size, 3))
    x = augmentation(inputs)
    x = tf.keras.applications.mobilenet_v2.preprocess_input(x)
    x = base(x, training=False)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    x = tf.keras.layers.Dropout(0.2)(x)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(len(job.classes))(x))


def _compile(model: Any, optimizer: Any) -> None:
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
