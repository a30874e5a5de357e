"""T7: the disk is full while a training saves: a clear line, and what was saved before is still there and loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.callbacks.storage import read_tensors

TESTS = Path(__file__).parents[1]

# A small file system of its own, gone with the process that made it.
_WITH_SMALL_DISK = 'mount -t tmpfs -o size={size} none "$1" && shift && exec "$@"'

_SAVE = """
import sys, numpy as np
from pathlib import Path
from pipeline.callbacks.storage import read_tensors, write_tensors
from pipeline.errors import TrainingError
folder = Path(sys.argv[1])
path = folder / "best.safetensors"
write_tensors(path, {"weight/0000": np.arange(100_000, dtype=np.float32)}, {"epoch": "1"})
try:
    write_tensors(path, {"weight/0000": np.ones(200_000, np.float32)}, {"epoch": "2"})
except TrainingError as err:
    print(err)
tensors, about = read_tensors(path)
assert about == {"epoch": "1"} and (tensors["weight/0000"] == np.arange(100_000)).all()
print(sorted(entry.name for entry in folder.iterdir()))
"""

_TRAIN = """
import sys
from pathlib import Path
from pipeline.errors import TrainingError
import tf_keras
from toy_models import Training
folder = Path(sys.argv[1])

class Fill(tf_keras.callbacks.Callback):  # somebody else needs the room
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            try:
                with (folder / "other").open("wb", buffering=0) as stream:
                    while True:
                        stream.write(b"x" * 512)
            except OSError:
                pass

training = Training(folder, 4)
try:
    training.fit([Fill()])
except TrainingError as err:
    print(err)
(folder / "other").unlink()
again = Training(folder, 4)
print("goes on from epoch", again.fit())
print("ends after epoch", again.best.epochs)
"""


def _run_on_small_disk(script: str, folder: Path, size: str) -> list[str]:
    folder.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("needs 'unshare' to make a small file system")
    shell = ["unshare", "-rm", "sh", "-c", _WITH_SMALL_DISK.format(size=size), "sh", str(folder)]
    if subprocess.run([*shell, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let an ordinary process mount a file system of its own")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        "CUDA_VISIBLE_DEVICES": "",
    }
    ran = subprocess.run(
        [*shell, sys.executable, "-c", script, str(folder)], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout.splitlines()


def test_a_full_disk_leaves_the_last_good_file(tmp_path: Path) -> None:
    message, files = _run_on_small_disk(_SAVE, tmp_path / "disk", "1m")
    assert message == (
        f"{tmp_path}/disk/best.safetensors: the disk is full; 1 MB are needed; "
        "free some space and train again: what was saved before is still there"
    )
    assert files == "['best.safetensors']"


def test_a_training_whose_disk_fills_up_says_so_and_goes_on_later(tmp_path: Path) -> None:
    message, resumed, end = _run_on_small_disk(_TRAIN, tmp_path / "disk", "128k")
    assert "the disk is full" in message and "free some space and train again" in message
    assert resumed == "goes on from epoch 2"
    assert end == "ends after epoch 4"


def test_a_file_size_limit_is_told_with_its_reason(tmp_path: Path) -> None:
    script = _SAVE.replace(
        "path = folder", "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\npath = folder"
    ).replace("try:", "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\ntry:", 1)
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "File too large" in ran.stdout and "cannot be written" in ran.stdout
    tensors, about = read_tensors(tmp_path / "best.safetensors")
    assert about == {"epoch": "1"}
    np.testing.assert_array_equal(tensors["weight/0000"], np.arange(100_000, dtype=np.float32))
