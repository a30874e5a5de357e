"""T6: a worker of a training on several machines is killed in any epoch: started again, all go on and finish."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_pipeline_distribute import SCRATCH, free_addresses, start_worker

from pipeline.callbacks.history_file import read_history
from pipeline.run import open_run

pytestmark = pytest.mark.long

EPOCHS = 25
WAIT_S = 240.0


def wait_for_epoch(run: Path, epoch: int, worker: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not any(line.epoch >= epoch for line in read_history(run / "history.csv")):
        assert worker.poll() is None, worker.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_is_started_again_and_all_finish(shape_photos: Path, tmp_path: Path, killed: int) -> None:
    run, addresses = tmp_path / "run", free_addresses(2)
    options = (shape_photos, *SCRATCH, "--epochs", str(EPOCHS), "--out", run)
    workers = [start_worker(index, addresses, *options) for index in range(2)]
    try:
        wait_for_epoch(run, 3, workers[0])
        os.kill(workers[killed].pid, signal.SIGKILL)
        workers[killed].communicate()
        assert not (run / "run.json").exists()
        workers[killed] = start_worker(killed, addresses, *options)
        errors = [worker.communicate(timeout=WAIT_S)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], errors
    assert f"worker {1 - killed} of 2: lost the others" in errors[1 - killed]
    resumed = re.search(r"scratch: goes on after epoch (\d+)", errors[0])
    assert resumed and 2 <= int(resumed[1]) < EPOCHS, errors
    epochs = [line.epoch for line in read_history(run / "history.csv")]
    assert epochs == list(range(1, len(epochs) + 1)), "an epoch is missing or was written twice"
    assert open_run(run).record.test.low > 1 / 3
    # What worker 1 had to say went with the backup; everything else is worker 0's.
    assert not (run / "backup").exists()
