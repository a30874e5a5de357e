"""An interrupted training ends where the uninterrupted one does, wherever it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from toy_models import Training

from pipeline.callbacks.history_file import read_history
from pipeline.callbacks.stopping import StopAtTarget
from pipeline.callbacks.storage import read_tensors, write_tensors

EPOCHS = 6


class Interrupt(tf_keras.callbacks.Callback):
    """As Ctrl-C would, in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._at, self._epoch = epoch, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self._epoch, batch) == (self._at, 2):
            raise InterruptedError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training that nothing interrupted."""
    training = Training(tmp_path_factory.mktemp("whole"), EPOCHS)
    training.fit()
    return training


def _assert_same(one: Training, other: Training) -> None:
    for left, right in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    assert one.best.best_epoch == other.best.best_epoch
    assert one.plateau.multiplier == other.plateau.multiplier
    lines = [read_history(training.folder / "history.csv") for training in (one, other)]
    for left, right in zip(*lines, strict=True):
        assert (left.stage, left.epoch) == (right.stage, right.epoch)
        figures = [(line.learning_rate, line.train_loss, line.validation_loss) for line in (left, right)]
        assert figures[0] == pytest.approx(figures[1], rel=1e-4)


@pytest.mark.parametrize("epoch", [1, 4])
def test_resumed_training_ends_where_the_uninterrupted_one_does(tmp_path: Path, whole: Training, epoch: int) -> None:
    with pytest.raises(InterruptedError):
        Training(tmp_path, EPOCHS).fit([Interrupt(epoch)])
    resumed = Training(tmp_path, EPOCHS)
    assert resumed.fit() == epoch
    _assert_same(resumed, whole)


def test_a_killed_process_leaves_a_good_backup(tmp_path: Path, whole: Training) -> None:
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests), str(tests.parent)])
    victim = subprocess.Popen(
        [sys.executable, str(tests / "toy_models.py"), str(tmp_path), str(EPOCHS)],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
    )
    assert victim.stdout is not None
    for _ in range(int(np.random.default_rng().integers(1, 6 * EPOCHS))):  # anywhere: a new place on every run
        victim.stdout.readline()
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    resumed = Training(tmp_path, EPOCHS)
    resumed.fit()
    _assert_same(resumed, whole)


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = Training(tmp_path, 3)
    first.fit()
    again = Training(tmp_path, 3)
    assert again.fit() == 3
    for left, right in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_training_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    first = Training(tmp_path, 5)
    first.fit([StopAtTarget(0.0)])
    assert first.best.epochs == 1
    again = Training(tmp_path, 5)
    assert again.fit() == 5
    assert again.best.epochs == 1


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "text"])
def test_a_damaged_backup_is_said_and_ignored(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    Training(tmp_path, 1).fit()
    path = tmp_path / "backup.safetensors"
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(
        {"flipped": bytes(data), "truncated": data[: len(data) // 2], "empty": b"", "text": b"x" * 99}[damage]
    )
    training = Training(tmp_path, 2)
    before = training.model.get_weights()
    assert training.backup.resume(training.model, 2) == 0
    assert "backup.safetensors: damaged" in capsys.readouterr().err
    for left, right in zip(before, training.model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_backup_of_another_training_is_left_alone(tmp_path: Path) -> None:
    training = Training(tmp_path, 1)
    training.fit()
    path = tmp_path / "backup.safetensors"
    tensors, about = read_tensors(path)
    for key in ("fingerprint", "stage"):
        write_tensors(path, tensors, {**about, key: "another"})
        assert training.backup.resume(training.model, 2) == 0
    write_tensors(path, tensors, about)
    assert training.backup.resume(training.model, 2) == 1


def test_a_backup_of_another_model_is_said_and_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = Training(tmp_path, 1)
    training.fit()
    inputs = tf_keras.layers.Input((4,))
    other = tf_keras.Model(inputs, tf_keras.layers.Dense(3)(inputs))
    other.compile("adam", "mse")
    assert training.backup.resume(other, 2) == 0
    assert "of another model" in capsys.readouterr().err


def test_mixed_precision_resumes_with_its_loss_scale(tmp_path: Path) -> None:
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        whole = Training(tmp_path / "whole", 4)
        whole.fit()
        with pytest.raises(InterruptedError):
            Training(tmp_path / "killed", 4).fit([Interrupt(2)])
        resumed = Training(tmp_path / "killed", 4)
        optimizer = resumed.model.optimizer
        assert isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
        assert resumed.backup.resume(resumed.model, 4) == 2
        assert int(optimizer.iterations) == int(optimizer.dynamic_counter) == 12
        resumed.fit()
        _assert_same(resumed, whole)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
