"""Several devices, and several workers as real processes on this machine: same result, own photos, one writer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trainings import draw_shapes, plain_session, shape_task

from pipeline.augmentation.config import Preset, preset
from pipeline.config import TrainConfig, Workers
from pipeline.errors import PipelineError
from pipeline.fitted import Labelled
from pipeline.fitting import _FineTuning
from pipeline.metrics import wilson_interval
from pipeline.recipes import Recipe
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


# What a worker does, once for each seed, with its weights, its photos and its learning rate written down.
_WORKER = """
import sys
from pathlib import Path
import numpy as np
from pipeline.config import TrainConfig
from pipeline.dataset import Split
from pipeline.display import Silent
from pipeline.fitting import fit_job, _shard
from pipeline.job import prepare_job
from pipeline.recipes import recipe_for
from pipeline.session import open_session
from pipeline.workers import read_workers

photos, weights, out, index, addresses, file = sys.argv[1:]
# The range test is not what training from scratch is about here: its finds differ by factors.
chosen = {"epochs": 20, "learning_rate": 3e-3} if weights == "none" else {"epochs": 4}
workers = read_workers(addresses or None, int(index) if addresses else None, 1)
right = []
for seed in (0, 1):
    config = TrainConfig(Path(photos), Path(out) / str(seed), backbone="lenet5", weights=weights, size=32,
                         workers=workers, seed=seed, **chosen)
    job = prepare_job(config, Silent())
    with open_session(job, Silent()) as session:
        fitted = fit_job(job, recipe_for(job), session)
        own = _shard(job.task().train, session)
    test = job.labelled(Split.TEST)
    right.append(fitted.classifier.predict(test.pixels).argmax(axis=1) == test.labels)
arrays = {f"weight{number}": array for number, array in enumerate(fitted.classifier.weights())}
np.savez(file, right=np.concatenate(right), own=own.pixels, train=len(job.task().train.labels),
         rate=fitted.stages[-1].learning_rate, **arrays)
"""


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough that LeNet-5 learns them from nothing in seconds."""
    return draw_shapes(tmp_path_factory.mktemp("many") / "photos", 160)


@pytest.fixture(scope="module", params=["none", "file"])
def together(
    request: pytest.FixtureRequest, many_photos: Path, lenet_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, np.ndarray]]:
    """What two workers and then one process alone wrote down: trained from scratch, and fine-tuned."""
    folder = tmp_path_factory.mktemp("workers")
    weights = "none" if request.param == "none" else str(lenet_weights)
    addresses = free_addresses(2)
    arguments = [("two", "0", addresses), ("two", "1", addresses), ("one", "0", "")]
    processes = []
    for out, index, others in arguments:
        file = folder / f"{out}{index}.npz"
        words = [str(many_photos), weights, str(folder / out), index, others, str(file)]
        process = subprocess.Popen([sys.executable, "-c", _WORKER, *words], stderr=subprocess.PIPE, text=True)
        processes.append((file, process))
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
    """On the same test photos of two splits, within three standard errors of the difference of two proportions."""
    two, alone = together[0]["right"], together[2]["right"]
    assert wilson_interval(int(alone.sum()), len(alone))[0] > 0.8, alone.mean()  # chance is one in three
    both = (two.mean() + alone.mean()) / 2
    assert two.mean() >= alone.mean() - 3 * np.sqrt(2 * both * (1 - both) / len(two)), (two.mean(), alone.mean())


@pytest.mark.long
@pytest.mark.parametrize("together", ["file"], indirect=True)
def test_workers_find_one_learning_rate_by_range_tests(together: list[dict[str, np.ndarray]]) -> None:
    first, second, _ = (float(each["rate"]) for each in together)
    assert first == second
    assert first != pytest.approx(Recipe().deep.learning_rate, rel=1e-3)  # which stands where nothing is found


@pytest.mark.parametrize("cached", [False, True])
def test_two_workers_draw_other_orders_and_other_views(lenet_weights: Path, tmp_path: Path, cached: bool) -> None:
    """Of photos that are all the same, so that a batch differs by its augmentation alone."""
    task = shape_task("lenet5", lenet_weights, 32)
    same = np.repeat(task.train.pixels[:1], len(task.train.labels), axis=0)
    task = replace(task, train=Labelled(same, np.repeat(task.train.labels, 2)[: len(same)]))
    batches = []
    for index in range(2):
        session = replace(plain_session(tmp_path), workers=Workers(("a:1", "b:1"), index))
        tuning = _FineTuning(task, Recipe(augmentation=preset(Preset.STANDARD)), session, None)
        source = tuning._compute_views(task.backbone.blocks[1], []).source if cached else tuning._fresh_views()
        batches.append(next(iter(source.dataset(16, 1, 0).as_numpy_iterator())))
    (first_inputs, first_targets), (second_inputs, second_targets) = batches
    assert not np.array_equal(first_targets, second_targets)
    assert not np.isclose(first_inputs.mean(axis=(1, 2, 3)), second_inputs.mean(axis=(1, 2, 3))).any()


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
