"""Training of a custom classification model as in Frigate (blakeblackshear/frigate, frigate/util/classification.py
at commit 04e62ac).

Kept as it is there, also that photos reach MobileNetV2 scaled to 0..1, where its weights expect -1..1. One thing is
not: Frigate puts a fifth of the photos aside without looking at them; here it trains on the whole training split.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recipes.job import Job

_BATCH = 16
_EPOCHS = 50
_LEARNING_RATE = 0.001
_CALIBRATION_PHOTOS = 300


def train(job: Job) -> Any:
    """A hidden layer and a head on the frozen backbone, fifty epochs through all of it, no augmentation."""
    base = tf.keras.applications.MobileNetV2(
        input_shape=(job.size, job.size, 3), alpha=job.alpha, include_top=False, weights=str(job.weights)
    )
    base.trainable = False
    layers = tf.keras.layers
    model = tf.keras.models.Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(len(job.classes), activation="softmax"),
        ]
    )
    optimizer = tf.keras.optimizers.Adam(learning_rate=_LEARNING_RATE)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(_generator(job, "train", shuffle=True), epochs=_EPOCHS, verbose=2)
    return model


def load(job: Job, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Stretched to the square, nearest pixel, 0..1."""
    generator = _generator(job, split, shuffle=False)
    batches = [generator[index] for index in range(len(generator))]
    images, one_hot = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(one_hot).argmax(axis=1)


def calibration(job: Job) -> Iterable[NDArray[np.float32]]:
    """The first three hundred photos, folder by folder."""
    files = (path for name in job.classes for path in sorted((job.photos / "train" / name).iterdir()))
    for path in islice(files, _CALIBRATION_PHOTOS):
        picture = cv2.imread(str(path))
        assert picture is not None
        resized = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (job.size, job.size))
        yield (np.asarray(resized, np.float32) / 255.0)[None]


def _generator(job: Job, split: str, shuffle: bool) -> Any:
    rescaled = tf.keras.preprocessing.image.ImageDataGenerator(rescale=1.0 / 255)
    return rescaled.flow_from_directory(
        str(job.photos / split),
        target_size=(job.size, job.size),
        batch_size=_BATCH,
        class_mode="categorical",
        shuffle=shuffle,
    )
