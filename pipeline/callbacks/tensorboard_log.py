"""The curves of a training for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from pipeline.callbacks.optional import load_optional
from pipeline.learning_rate import current_learning_rate


class TensorBoardLog(tf_keras.callbacks.Callback):
    """Writes event files that ``tensorboard --logdir FOLDER`` shows: losses, accuracy and learning rate by epoch.

    Args:
        folder: each stage gets a folder in it.
        stage: its name.

    Raises:
        PipelineError: the package tensorboard is not installed; TensorFlow no longer brings it.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        super().__init__()
        load_optional("tensorboard", "tensorboard")
        self._folder = folder / stage
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Open a file."""
        self._writer = tf.summary.create_file_writer(str(self._folder))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the epoch, to be seen at once."""
        figures = {**(logs or {}), "learning_rate": current_learning_rate(self.model.optimizer)}
        with self._writer.as_default(step=epoch + 1):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Close the file."""
        self._writer.close()
