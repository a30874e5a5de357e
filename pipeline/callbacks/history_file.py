"""``history.csv``: a line for every epoch. Imports no TensorFlow."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One epoch.

    Attributes:
        stage: its name.
        epoch: from 1, within the stage.
        learning_rate: of its last step.
        train_loss: mean over its batches, label smoothing and regularisation included.
        validation_loss: mean negative log-likelihood; NaN where it was not measured.
        validation_accuracy: 0 to 1; NaN where it was not measured.
        seconds: that it took, validation included.
    """

    stage: str
    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


COLUMNS = tuple(field.name for field in fields(HistoryLine))


def read_history(path: Path) -> tuple[HistoryLine, ...]:
    """The whole lines of the file, up to the first that is none: a killed process may leave half a line.

    Returns:
        () where there is no file.
    """
    if not path.is_file():
        return ()
    lines: list[HistoryLine] = []
    with path.open(newline="", encoding="utf-8") as stream:
        for line in stream:
            if not line.endswith("\n"):
                break
            row = next(csv.reader([line]), [])
            if row == list(COLUMNS):
                continue
            try:
                stage, epoch, *figures = row
                lines.append(HistoryLine(stage, int(epoch), *map(float, figures)))
            except (TypeError, ValueError):
                break
    return tuple(lines)


def format_history(lines: tuple[HistoryLine, ...], header: bool = True) -> str:
    """As the file holds them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerows(asdict(line).values() for line in lines)
    return text.getvalue()
