"""Writes ``history.csv`` while the training runs."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import tf_keras

from pipeline.callbacks.history_file import HistoryLine, format_history, read_history
from pipeline.callbacks.storage import cannot_write
from pipeline.learning_rate import current_learning_rate


class CsvHistory(tf_keras.callbacks.Callback):
    """Appends a line per epoch, which can be read at once. Several stages may share a file, one after the other.

    After a resume it goes on where training does: lines from the first epoch that is done again on are cut off, so
    that none is doubled.

    Args:
        path: of the file; see ``history_file.HistoryLine`` for its columns.
        stage: its name.
    """

    def __init__(self, path: Path, stage: str) -> None:
        super().__init__()
        self._path, self._stage = path, stage
        self._continues, self._started = False, 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """The next line looks at what is already there."""
        self._continues = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """The clock starts."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the line.

        Raises:
            TrainingError: it cannot be written.
        """
        logs = logs or {}
        line = HistoryLine(
            stage=self._stage,
            epoch=epoch + 1,
            learning_rate=current_learning_rate(self.model.optimizer),
            train_loss=float(logs.get("loss", math.nan)),
            validation_loss=float(logs.get("val_loss", math.nan)),
            validation_accuracy=float(logs.get("val_accuracy", math.nan)),
            seconds=round(time.monotonic() - self._started, 3),
        )
        try:
            if not self._continues:
                self._cut(epoch + 1)
                self._continues = True
            with self._path.open("a", newline="", encoding="utf-8") as stream:
                stream.write(format_history((line,), header=False))
        except OSError as err:
            raise cannot_write(self._path, err) from err

    def _cut(self, epoch: int) -> None:
        kept: list[HistoryLine] = []
        for line in read_history(self._path):
            if line.stage == self._stage and line.epoch >= epoch:
                break
            kept.append(line)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(self._path.name + ".partial")
        with partial.open("w", newline="", encoding="utf-8") as stream:
            stream.write(format_history(tuple(kept)))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self._path)
