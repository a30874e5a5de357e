"""A small training that really learns, for tests of what happens around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from pipeline.callbacks.averaging import Averaging
from pipeline.callbacks.backup import Backup
from pipeline.callbacks.best import BestModel
from pipeline.callbacks.history import CsvHistory
from pipeline.callbacks.plateau import ReduceOnPlateau
from pipeline.callbacks.quality import Quality
from pipeline.callbacks.stopping import EarlyStopping, StopOnNan
from pipeline.callbacks.validation import Validation
from pipeline.learning_rate import WarmupCosine

CLASSES, FEATURES, BATCH = 3, 8, 16


def clusters(count: int = 96, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(count, 8) float32 around three centres, and their one-hot classes."""
    centres = np.random.default_rng(99).normal(size=(CLASSES, FEATURES))
    random = np.random.default_rng(seed)
    labels = random.integers(CLASSES, size=count)
    inputs = centres[labels] + spread * random.normal(size=(count, FEATURES))
    return inputs.astype(np.float32), np.eye(CLASSES, dtype=np.float32)[labels]


class Shuffled(tf_keras.utils.Sequence):
    """Batches whose order is a function of seed and epoch."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, first_epoch: int = 0) -> None:
        super().__init__()
        self._inputs, self._targets, self._epoch = inputs, targets, first_epoch

    def __len__(self) -> int:
        return math.ceil(len(self._inputs) / BATCH)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng((7, self._epoch)).permutation(len(self._inputs))
        chosen = order[index * BATCH : (index + 1) * BATCH]
        return self._inputs[chosen], self._targets[chosen]

    def on_epoch_end(self) -> None:
        self._epoch += 1


def build(rate: Any = 1e-2, seed: int = 1) -> tf_keras.Model:
    """With dropout and batch norm, compiled with AdamW."""
    tf_keras.utils.set_random_seed(seed)
    inputs = tf_keras.layers.Input((FEATURES,))
    x = tf_keras.layers.Dense(16, use_bias=False, name="hidden")(inputs)
    x = tf_keras.layers.ReLU()(tf_keras.layers.BatchNormalization(momentum=0.8, name="norm")(x))
    x = tf_keras.layers.Dropout(0.2, rng_type="stateful")(x)
    logits = tf_keras.layers.Dense(CLASSES, name="logits")(x)
    model = tf_keras.Model(inputs, tf_keras.layers.Softmax(dtype="float32")(logits))
    model.compile(tf_keras.optimizers.AdamW(rate, weight_decay=1e-2), "categorical_crossentropy")
    return model


def measurer(model: tf_keras.Model, inputs: np.ndarray, targets: np.ndarray) -> Callable[[], Quality]:
    """Quality on these."""

    def measure() -> Quality:
        probabilities = model(inputs, training=False).numpy()
        picked = (probabilities * targets).sum(axis=1)
        accuracy = float((probabilities.argmax(axis=1) == targets.argmax(axis=1)).mean())
        return Quality(accuracy, float(-np.log(np.maximum(picked, 1e-7)).mean()))

    return measure


class Training:
    """Everything at once: averaging, validation, best, early stopping, plateau, history, backup."""

    def __init__(self, folder: Path, epochs: int = 6, schedule: bool = True) -> None:
        self.epochs, self.folder = epochs, folder
        self.inputs, self.targets = clusters()
        rate = WarmupCosine(1e-2, 3, epochs * 6) if schedule else 1e-2
        self.model = build(rate)
        self.averaging = Averaging(0.9)
        self.best = BestModel("toy", folder / "best.safetensors", self.averaging)
        self.stopping = EarlyStopping(patience=epochs)
        self.plateau = ReduceOnPlateau(0.5, patience=1)
        stateful = [self.averaging, self.best, self.stopping, self.plateau]
        self.backup = Backup(folder / "backup.safetensors", "toy", stateful, "fingerprint")

    def fit(self, extra: Sequence[Any] = (), resume: bool = True) -> int:
        """Train on from where the last one stood; gives the epoch it began at."""
        start = self.backup.resume(self.model, self.epochs) if resume else 0
        validation = Validation(measurer(self.model, *clusters(seed=5)), self.averaging)
        callbacks = [
            StopOnNan(), self.averaging, validation, self.best, self.stopping, self.plateau,
            CsvHistory(self.folder / "history.csv", "toy"), *extra, self.backup,
        ]  # fmt: skip
        data = Shuffled(self.inputs, self.targets, start)
        self.model.fit(data, epochs=self.epochs, initial_epoch=start, callbacks=callbacks, shuffle=False, verbose=0)
        return start


if __name__ == "__main__":  # the victim of test_pipeline_callbacks_backup.py
    import sys

    Training(Path(sys.argv[1]), epochs=int(sys.argv[2])).fit(
        [tf_keras.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: print(batch, flush=True))]
    )
