"""Several devices, and several workers as real processes on this machine: same result, own photos, one writer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import TrainConfig, Workers
from pipeline.errors import PipelineError
from pipeline.metrics import wilson_interval
from pipeline.run import open_run

SCRATCH = ("--weights", "none", "--backbone", "lenet5", "--size", "32")
FAST_CHECK_S = 300


def free_addresses(count: int) -> str:
    """``localhost:port`` of ports that nobody listens at."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{found.getsockname()[1]}" for found in sockets]
    for found in sockets:
        found.close()
    return ",".join(addresses)


def start_worker(index: int, addresses: str, *arguments: str | Path, wait_s: int = 120) -> subprocess.Popen[str]:
    """``edgegraft train`` as one of the workers."""
    command = [sys.executable, "-m", "device.cli", "train", *map(str, arguments)]
    return subprocess.Popen(
        [*command, "--worker", str(index), "--workers", addresses],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EDGEGRAFT_WORKERS_WAIT_S": str(wait_s)},
    )


def run_workers(options: Sequence[Sequence[str | Path]]) -> list[tuple[int, str]]:
    """Exit code and standard error of each of some workers with options of their own."""
    addresses = free_addresses(len(options))
    workers = [start_worker(index, addresses, *own) for index, own in enumerate(options)]
    try:
        ends = [worker.communicate(timeout=FAST_CHECK_S)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [(worker.returncode, end) for worker, end in zip(workers, ends, strict=True)]


# What a worker does, with its weights, its photos and its view of validation written down.
_WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from pipeline.config import TrainConfig
from pipeline.dataset import Split
from pipeline.display import Silent
from pipeline.fitting import fit_from_scratch, _shard
from pipeline.job import prepare_job
from pipeline.recipes import recipe_for
from pipeline.session import open_session
from pipeline.workers import read_workers

photos, out, index, addresses, file = sys.argv[1:]
config = TrainConfig(Path(photos), Path(out), backbone="lenet5", weights="none", size=32, epochs=12,
                     workers=read_workers(addresses or None, int(index) if addresses else None, 1))
job = prepare_job(config, Silent())
with open_session(job, Silent()) as session:
    task = job.task()
    fitted = fit_from_scratch(task, recipe_for(job), session)
    own = _shard(task.train, session)
test = job.labelled(Split.TEST)
right = fitted.classifier.predict(test.pixels).argmax(axis=1) == test.labels
weights = {f"weight{number}": array for number, array in enumerate(fitted.classifier.weights())}
np.savez(file, right=right, own=own.pixels, train=len(task.train.labels), **weights)
"""


@pytest.fixture(scope="module")
def together(shape_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    """What two workers and then one process alone wrote down."""
    folder = tmp_path_factory.mktemp("workers")
    addresses = free_addresses(2)
    arguments = [("two", "0", addresses), ("two", "1", addresses), ("one", "0", "")]
    processes = []
    for out, index, others in arguments:
        file = folder / f"{out}{index}.npz"
        command = [sys.executable, "-c", _WORKER, str(shape_photos), str(folder / out), index, others, str(file)]
        processes.append((file, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)))
    found = []
    for file, process in processes:
        error = process.communicate(timeout=FAST_CHECK_S)[1]
        assert process.returncode == 0, error[-3000:]
        with np.load(file) as arrays:
            found.append(dict(arrays))
    return found


@pytest.mark.long
def test_two_workers_end_with_the_same_weights(together: list[dict[str, np.ndarray]]) -> None:
    first, second, _ = together
    names = [name for name in first if name.startswith("weight")]
    assert len(names) > 4
    for name in names:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.long
def test_each_worker_trains_on_its_own_half(together: list[dict[str, np.ndarray]]) -> None:
    halves = [{photo.tobytes() for photo in worker["own"]} for worker in together[:2]]
    assert not halves[0] & halves[1]
    assert len(halves[0]) == len(halves[1]) == together[0]["train"] // 2
    assert len(together[2]["own"]) == together[2]["train"]


@pytest.mark.long
def test_two_workers_are_as_good_as_one_process_within_chance(together: list[dict[str, np.ndarray]]) -> None:
    counts = [(int(each["right"].sum()), len(each["right"])) for each in (together[0], together[2])]
    (low, high), (low_alone, high_alone) = (wilson_interval(*count) for count in counts)
    assert low <= high_alone and low_alone <= high, counts
    assert low > 1 / 3  # three classes: it has learned something


@pytest.mark.long
def test_two_devices_of_one_machine(shape_photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "device.cli", "train", str(shape_photos), "--out", str(run), *SCRATCH]
    done = subprocess.run([*command, "--devices", "2", "--epochs", "12"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    test = open_run(run).record.test
    assert test.low > 1 / 3, test


@pytest.mark.long
def test_workers_without_a_shared_folder_are_refused(shape_photos: Path, tmp_path: Path) -> None:
    ends = run_workers([(shape_photos, *SCRATCH, "--out", tmp_path / name) for name in ("here", "there")])
    assert [code for code, _ in ends] == [1, 1]
    for _, error in ends:
        assert "worker 1 has another folder there than worker 0; give all workers one shared folder" in error
        assert "Traceback" not in error


@pytest.mark.long
def test_workers_with_other_options_are_refused(shape_photos: Path, tmp_path: Path) -> None:
    ends = run_workers([(shape_photos, *SCRATCH, "--out", tmp_path / "run", "--seed", seed) for seed in ("1", "2")])
    assert [code for code, _ in ends] == [1, 1]
    assert all("worker 1 has other photos or options than worker 0" in error for _, error in ends)


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_whose_others_do_not_come_gives_up(shape_photos: Path, tmp_path: Path, index: int) -> None:
    options = (shape_photos, *SCRATCH, "--out", tmp_path / "run")
    with start_worker(index, free_addresses(2), *options, wait_s=5) as worker:
        _, error = worker.communicate(timeout=FAST_CHECK_S)
    lines = error.splitlines()
    assert worker.returncode == 1
    assert f"worker {index} of 2: waits for the others, 5 s at most" in lines
    given_up = f"edgegraft train: worker {index} of 2: not all workers came within 5 s (localhost:"
    assert any(line.startswith(given_up) for line in lines), error


def test_a_port_that_is_taken_is_named(shape_photos: Path, tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        options = (shape_photos, *SCRATCH, "--out", tmp_path / "run")
        with start_worker(0, f"localhost:{port},localhost:1", *options) as worker:
            _, error = worker.communicate(timeout=FAST_CHECK_S)
    assert worker.returncode == 1
    assert f"worker 0: cannot listen at localhost:{port}" in error


def test_workers_and_devices_together_are_refused(tmp_path: Path) -> None:
    from pipeline.distribute import make_strategy

    with pytest.raises(PipelineError, match="--devices 2 with --workers: give every device a worker of its own"):
        make_strategy(TrainConfig(tmp_path, tmp_path, workers=Workers(("a:1", "b:1"), 0, 2)).workers)
