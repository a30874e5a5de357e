"""What is refused before any training, and what makes a training another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.augmentation.config import Preset
from pipeline.config import Budget, HeadConfig, Search, TrainConfig, Workers
from pipeline.dataset import Split
from pipeline.display import Silent
from pipeline.errors import PipelineError, RunError, WeightsError
from pipeline.job import Job, prepare_job
from pipeline.workers import read_workers

MakeFolder = Callable[..., Path]
TWO = Workers(("a:1", "b:1"), 0)


@pytest.fixture
def config(make_folder: MakeFolder, tmp_path: Path) -> TrainConfig:
    """From scratch with LeNet-5, on ten photos of each of two classes."""
    return TrainConfig(make_folder({"a": 10, "b": 10}), tmp_path / "run", "lenet5", "none")


def _job(config: TrainConfig) -> Job:
    return prepare_job(config, Silent())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": Budget.FAST}, r"--budget fast needs pretrained weights; train from scratch with --budget balanced"),
        ({"budget": Budget.BEST}, r"--budget best needs pretrained weights"),
        ({"size": 31}, r"--size 31: lenet5 takes 32 to 1024 pixels"),
        ({"size": 1025}, r"--size 1025: lenet5 takes 32 to 1024 pixels"),
        ({"size": -5}, r"--size -5"),
        ({"weights": "imagenet"}, r"lenet5: .*--weights none to train from scratch"),
        ({"weights": "gone.h5"}, r"gone\.h5: no such weights file"),
        ({"backbone": "lenet6"}, r"no backbone 'lenet6'; there are efficientnet-lite0"),
        ({"teacher": Path("nowhere")}, r"nowhere: no such run"),
    ],
)
def test_refused_before_the_folder_is_touched(config: TrainConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        _job(replace(config, **changes))
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": Path("t")}, r"--budget fast trains a head only and has no use for a teacher"),
        ({"workers": TWO}, r"--budget fast does not train on several devices; take balanced$"),
        ({"workers": Workers(devices=2)}, r"--budget fast does not train on several devices"),
        ({"workers": TWO, "budget": Budget.BEST}, r"--budget best .*share one search with --storage"),
    ],
)
def test_settings_that_contradict_one_another(
    config: TrainConfig, lenet_weights: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        _job(replace(config, **{"weights": str(lenet_weights), "budget": Budget.FAST, **changes}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HeadConfig(hidden=-1), r"--hidden -1: expected 0 to 65536 units"),
        (lambda: HeadConfig(dropout=1.0), r"--dropout 1\.0: expected 0 or more, below 1"),
        (lambda: HeadConfig(dropout=float("nan")), r"--dropout nan"),
        (lambda: HeadConfig(label_smoothing=-0.1), r"--label-smoothing -0\.1"),
        (lambda: TrainConfig(Path(), Path(), learning_rate=0.0), r"--learning-rate 0\.0: expected a number above 0"),
        (lambda: TrainConfig(Path(), Path(), learning_rate=float("nan")), r"--learning-rate nan"),
        (lambda: TrainConfig(Path(), Path(), learning_rate=float("inf")), r"--learning-rate inf"),
        (lambda: TrainConfig(Path(), Path(), epochs=0), r"--epochs 0: expected 1 or more"),
        (lambda: TrainConfig(Path(), Path(), target_accuracy=95.0), r"--target-accuracy 95\.0: .* such as 0\.95"),
        (lambda: Search(trials=0), r"--trials 0: expected 1 or more"),
        (lambda: Workers(("a:1", "b:1"), 2), r"--worker 2: --workers names 2"),
        (lambda: Workers(devices=0), r"--devices 0: expected 1 or more"),
    ],
)
def test_a_setting_out_of_range_is_named_as_on_the_command_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        make()


@pytest.mark.parametrize(
    ("addresses", "index", "message"),
    [
        ("a:1,b:1", None, r"--worker K and --workers HOST:PORT,\.\.\. belong together"),
        (None, 1, r"belong together"),
        ("a:1,b", 0, r"--workers: 'b' is no host:port"),
        ("a:1,a:1", 0, r"--workers: an address comes twice"),
        ("a:1,b:2", 5, r"--worker 5"),
    ],
)
def test_worker_flags_that_do_not_fit(addresses: str | None, index: int | None, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        read_workers(addresses, index, 1)


def test_a_finished_run_is_not_replaced_unasked(config: TrainConfig) -> None:
    config.out.mkdir()
    (config.out / "run.json").write_bytes(b"the run of last week")
    with pytest.raises(RunError, match=r"--overwrite"):
        _job(config)
    assert (config.out / "run.json").read_bytes() == b"the run of last week"


def test_a_finished_run_survives_weights_that_do_not_exist(config: TrainConfig) -> None:
    config.out.mkdir()
    (config.out / "run.json").write_bytes(b"the run of last week")
    with pytest.raises(WeightsError):
        _job(replace(config, weights="gone.h5", overwrite=True))
    assert (config.out / "run.json").read_bytes() == b"the run of last week"


def test_every_photo_is_in_one_split_with_its_own_label(config: TrainConfig) -> None:
    job = _job(config)
    assert sum(len(photos) for photos in job.splits.values()) == 20
    for split in Split:
        found = job.labelled(split)
        assert found.pixels.shape == (len(job.splits[split]), 32, 32, 3)
        assert set(found.labels.tolist()) == {0, 1}
        for photo, pixels, label in zip(job.splits[split], found.pixels, found.labels, strict=True):
            np.testing.assert_array_equal(pixels, job.pixels[photo.row])
            assert photo.path.parent.name == job.dataset.classes[label]


def test_the_task_is_what_was_asked_for(config: TrainConfig) -> None:
    head = HeadConfig(hidden=8)
    task = _job(replace(config, head=head, flip=False, seed=4, augment=Preset.STRONG)).task()
    assert (task.backbone.name, task.weights, task.classes, task.head) == ("lenet5", "none", 2, head)
    assert (task.flip, task.seed) == (False, 4)
    assert _job(replace(config, augment=Preset.NONE)).task().flip is False
    assert _job(config).task().flip is True


def test_the_fingerprint_knows_everything_that_decides_what_is_trained(config: TrainConfig) -> None:
    same = _job(config).fingerprint()
    assert _job(replace(config, out=config.out.with_name("elsewhere"))).fingerprint() == same
    others = (
        {"seed": 1}, {"epochs": 3}, {"learning_rate": 0.01}, {"size": 40}, {"augment": Preset.LIGHT}, {"flip": False},
        {"head": HeadConfig(dropout=0.2)}, {"target_accuracy": 0.9}, {"workers": Workers(devices=2)},
        {"backbone": "alexnet", "size": 96},
    )  # fmt: skip
    prints = [_job(replace(config, **changes)).fingerprint() for changes in others]
    assert same not in prints
    assert len(set(prints)) == len(others)


def test_the_fingerprint_knows_the_photos(config: TrainConfig) -> None:
    before = _job(config).fingerprint()
    (config.data / "a" / "000.png").unlink()
    assert _job(config).fingerprint() != before
