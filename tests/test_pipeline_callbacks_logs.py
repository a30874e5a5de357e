"""What a training leaves for people: history, TensorBoard, MLflow, progress."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from toy_models import Shuffled, build, clusters, measurer

from pipeline.callbacks.best import BestModel
from pipeline.callbacks.history import CsvHistory
from pipeline.callbacks.history_file import COLUMNS, HistoryLine, format_history, read_history
from pipeline.callbacks.mlflow_log import MlflowRun
from pipeline.callbacks.progress import Progress
from pipeline.callbacks.tensorboard_log import TensorBoardLog
from pipeline.callbacks.validation import Validation
from pipeline.display import Terminal
from pipeline.errors import PipelineError, TrainingError


def _fit(*callbacks: object, epochs: int = 3, first: int = 0) -> None:
    model = build()
    validation = Validation(measurer(model, *clusters(seed=5)))
    data = Shuffled(*clusters(), first_epoch=first)
    model.fit(data, epochs=epochs, initial_epoch=first, callbacks=[validation, *callbacks], verbose=0)


def _line(stage: str, epoch: int) -> HistoryLine:
    return HistoryLine(stage, epoch, 1e-3, 0.5, math.inf, 0.25, 1.5)


def test_history_goes_on_without_doubled_lines(tmp_path: Path) -> None:
    path = tmp_path / "run" / "history.csv"
    _fit(CsvHistory(path, "head"))
    _fit(CsvHistory(path, "fine-tune"), epochs=2)
    before = read_history(path)
    with path.open("a") as stream:  # killed while it wrote
        stream.write("fine-tune,3,0.00")
    _fit(CsvHistory(path, "fine-tune"), epochs=4, first=1)
    after = read_history(path)
    assert [(line.stage, line.epoch) for line in after] == [
        *[("head", epoch) for epoch in (1, 2, 3)],
        *[("fine-tune", epoch) for epoch in (1, 2, 3, 4)],
    ]
    assert after[:4] == before[:4]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert all(line.learning_rate == pytest.approx(1e-2) and line.seconds > 0 for line in after)
    assert after[2].validation_accuracy > after[0].validation_accuracy


def test_history_reads_what_it_wrote_up_to_the_first_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    assert read_history(path) == ()
    lines = (_line("a,b", 1), _line('say "x"', 2))
    text = format_history(lines)
    path.write_text(text)
    assert read_history(path) == lines
    path.write_text(text + "head,3,oops\n" + format_history((_line("head", 4),), header=False))
    assert read_history(path) == lines


def test_history_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "history.csv").mkdir()
    with pytest.raises(TrainingError, match=r"history\.csv: cannot be written \(.*\); see that the folder"):
        _fit(CsvHistory(tmp_path / "history.csv", "head"), epochs=1)


def test_tensorboard_reads_every_epoch(tmp_path: Path) -> None:
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _fit(TensorBoardLog(tmp_path, "head"))
    events = loading.EventAccumulator(str(tmp_path / "head"), size_guidance={"tensors": 0})
    events.Reload()
    assert set(events.Tags()["tensors"]) == {"loss", "val_loss", "val_accuracy", "learning_rate"}
    assert [event.step for event in events.Tensors("val_accuracy")] == [1, 2, 3]
    rate = tf.make_ndarray(events.Tensors("learning_rate")[0].tensor_proto)
    assert rate == pytest.approx(1e-2)


def test_mlflow_has_stages_parameters_and_the_state(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    with MlflowRun(uri, "flowers", "first", {"seed": 7}) as run:
        _fit(run.log("head"))
        _fit(run.log("fine-tune"), epochs=2)
    with pytest.raises(KeyboardInterrupt), MlflowRun(uri, "flowers", "second", {}) as failed:
        raise KeyboardInterrupt
    client = mlflow.MlflowClient(uri)
    seen = client.get_run(run.id)
    assert (seen.info.status, seen.info.run_name, seen.data.params) == ("FINISHED", "first", {"seed": "7"})
    assert [metric.step for metric in client.get_metric_history(run.id, "head/val_loss")] == [1, 2, 3]
    assert [metric.step for metric in client.get_metric_history(run.id, "fine-tune/val_loss")] == [1, 2]
    assert client.get_run(failed.id).info.status == "FAILED"
    assert seen.info.experiment_id == client.get_run(failed.id).info.experiment_id


def test_without_the_packages_the_message_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if not installed
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(PipelineError, match="'pip install tensorboard'"):
        TensorBoardLog(tmp_path, "head")
    with pytest.raises(PipelineError, match="'pip install mlflow-skinny'"):
        MlflowRun("sqlite://", "flowers", "first", {})


class Told:
    """Remembers what it is told. Implements ``Display``."""

    def __init__(self) -> None:
        self.done = self.total = 0
        self.notes: list[str] = []
        self.milestones: list[str] = []

    def begin(self, label: str, total: int, unit: str) -> None:
        self.total = total

    def skip(self, count: int) -> None:
        self.done += count

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        self.notes.append(note)

    def milestone(self, line: str) -> None:
        self.milestones.append(line)

    def end(self, line: str = "") -> None:
        pass


@pytest.mark.parametrize("first", [0, 2])
def test_progress_counts_every_batch_and_tells_of_the_best_epoch(first: int) -> None:
    display, best = Told(), BestModel("head")
    _fit(best, Progress(display, "head", 4, 6, best), epochs=4, first=first)
    assert display.done == display.total == 24
    assert display.notes[0].startswith(f"epoch {first + 1}/4, loss ")
    assert len(display.milestones) == 4 - first
    assert best.best is not None
    assert display.milestones[-1].startswith("head: epoch 4/4, loss ")
    assert display.milestones[-1].endswith(f"best {best.best.accuracy:.1%}")


def test_progress_that_is_no_terminal_stays_out_of_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    display, best = Terminal(), BestModel("head")
    _fit(best, Progress(display, "head", 3, 6, best))
    display.end("head  done")
    lines = stream.getvalue().splitlines()
    assert lines[-1] == "head  done"
    assert len(lines) <= 4 and all("epoch" in line for line in lines[:-1])
