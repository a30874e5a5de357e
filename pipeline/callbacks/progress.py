"""A stage's progress on a display."""

from __future__ import annotations

import math

import tf_keras

from pipeline.callbacks.best import BestModel
from pipeline.display import Display


class Progress(tf_keras.callbacks.Callback):
    """Shows every batch, how the model stands on validation, and the best epoch so far.

    ``Display.begin`` is called when training begins; ``Display.end``, with the line that sums the stage up, is left to
    who knows what to say.

    Args:
        display: where.
        stage: its name.
        epochs: at most.
        batches: per epoch.
        best: stands before this one in the list of callbacks.
    """

    def __init__(self, display: Display, stage: str, epochs: int, batches: int, best: BestModel) -> None:
        super().__init__()
        self._display, self._stage, self._epochs, self._batches = display, stage, epochs, batches
        self._best = best
        self._epoch = self._done = 0
        self._began = False
        self._accuracy: float | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Show the bar."""
        self._display.begin(self._stage, self._epochs * self._batches, "batch")

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Epochs done before a resume count as done."""
        if not self._began:
            self._began = True
            self._display.skip(epoch * self._batches)
        self._epoch, self._done = epoch + 1, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Advance."""
        count, self._done = batch + 1 - self._done, batch + 1
        self._display.advance(count, self._note((logs or {}).get("loss", math.nan)))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember, and tell those who see no bar."""
        logs = logs or {}
        self._accuracy = logs.get("val_accuracy", math.nan)
        note = self._note(logs.get("loss", math.nan))
        self._display.advance(0, note)
        self._display.milestone(f"{self._stage}: {note}")

    def _note(self, loss: float) -> str:
        parts = [f"epoch {self._epoch}/{self._epochs}", f"loss {loss:.3f}"]
        if self._accuracy is not None:
            parts.append(f"val {self._accuracy:.1%}")
        if self._best.best is not None:
            parts.append(f"best {self._best.best.accuracy:.1%}")
        return ", ".join(parts)
