"""``--budget best``: what the search keeps, killed, shared between processes, and with a teacher."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from trainings import SHAPES, draw_shapes

from pipeline.augmentation.config import Preset
from pipeline.callbacks.history_file import read_history
from pipeline.config import Budget, Search, TrainConfig
from pipeline.errors import PipelineError, RunError, TrainingError
from pipeline.run import Run, open_run
from pipeline.stages import quality
from pipeline.train import train
from pipeline.trained import load_trained

# Only against waiting for ever.
WAIT_S = 300.0


@pytest.fixture(scope="module")
def few_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("few") / "photos", 16)


@pytest.fixture
def config(few_photos: Path, lenet_weights: Path, tmp_path: Path) -> TrainConfig:
    """Two trials, of one epoch in the longest stage."""
    return TrainConfig(
        few_photos,
        tmp_path / "run",
        backbone="lenet5",
        weights=str(lenet_weights),
        size=32,
        budget=Budget.BEST,
        epochs=1,
        search=Search(trials=2, storage=tmp_path / "shared" / "journal.log"),
    )


@pytest.fixture(scope="module")
def teacher(few_photos: Path, lenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return train(TrainConfig(few_photos, folder, "lenet5", str(lenet_weights), 32, budget=Budget.FAST))


def command(config: TrainConfig, out: Path) -> subprocess.Popen[str]:
    """``edgegraft train`` as that config has it."""
    options = {
        "--out": out, "--backbone": config.backbone, "--weights": config.weights, "--size": config.size,
        "--budget": config.budget.value, "--epochs": config.epochs, "--trials": config.search.trials,
        "--storage": config.search.storage,
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    return subprocess.Popen(
        [sys.executable, "-m", "device.cli", "train", str(config.data), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def trials_of(config: TrainConfig) -> list[FrozenTrial]:
    """What the journal of a search says of its only study."""
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(config.search.storage)))
    [study] = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=study.study_name, storage=storage).trials


def of_state(state: TrialState, config: TrainConfig) -> list[FrozenTrial]:
    return [trial for trial in trials_of(config) if trial.state is state]


def folder_of(config: TrainConfig, number: int) -> Path:
    """Of a trial, beside the journal."""
    assert config.search.storage is not None
    [study] = config.search.storage.parent.glob("trials-*")
    return study / f"trial-{number}"


def searched(run: Run) -> dict[str, object]:
    """The settings that the record names."""
    return {key[7:]: value for key, value in run.record.hyperparameters.items() if key.startswith("search.")}


def assert_is_the_best(run: Run, config: TrainConfig) -> None:
    """The record names the settings of the best trial, and the weights answer as that trial did."""
    completed = of_state(TrialState.COMPLETE, config)
    best = min(completed, key=lambda trial: trial.value)
    assert searched(run) == {"trials": len(completed), **best.user_attrs["choice"]}
    photos = run.photos()
    reached = quality(load_trained(run).predict(photos.validation), photos.labels)
    assert reached.loss == pytest.approx(best.value, rel=1e-3)
    assert reached.accuracy == pytest.approx(best.user_attrs["accuracy"])
    assert run.record.validation_accuracy == pytest.approx(best.user_attrs["accuracy"])
    found = {path.parent.name for path in folder_of(config, 0).parent.glob("trial-*/weights.safetensors")}
    assert found == {f"trial-{best.number}"}


def test_the_best_trial_is_recorded_and_kept(config: TrainConfig) -> None:
    run = train(config)
    trials = trials_of(config)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    # The defaults come first.
    assert trials[0].user_attrs["choice"]["augment"] == config.augment.value
    assert trials[0].params["layer_decay"] == 0.8
    assert_is_the_best(run, config)
    assert [stage.name for stage in run.record.stages] == ["search", "features", "head", "views", "top", "deep"]
    assert [line.stage for line in read_history(run.folder / "history.csv")][-1] == "deep"


def test_who_asks_for_no_augmentation_gets_none(config: TrainConfig) -> None:
    run = train(replace(config, augment=Preset.NONE, search=replace(config.search, trials=1)))
    assert searched(run)["augment"] == "none"


def test_searches_for_other_choices_may_share_a_journal(config: TrainConfig) -> None:
    config = replace(config, search=replace(config.search, trials=1))
    train(config)
    # Without --size the photos are as large, but more sizes are to choose from.
    free = train(replace(config, size=None, out=config.out.with_name("free")))
    assert free.record.hyperparameters["search.trials"] == 1


def test_a_trial_that_fails_does_not_end_the_search(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(replace(config, search=replace(config.search, trials=1)))
    (folder_of(config, 1) / "history.csv").mkdir(parents=True)  # nothing can be written there
    run = train(replace(config, out=config.out.with_name("second")))
    states = [trial.state for trial in trials_of(config)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert "trial 1 failed: " in capsys.readouterr().err
    assert_is_the_best(run, config)


def test_what_was_completed_counts_where_the_rest_fails(config: TrainConfig) -> None:
    train(replace(config, search=replace(config.search, trials=1)))
    for number in (1, 2):
        (folder_of(config, number) / "history.csv").mkdir(parents=True)
    run = train(replace(config, out=config.out.with_name("second")))
    assert searched(run)["trials"] == 1
    assert_is_the_best(run, config)


def test_where_every_trial_fails_the_search_does(config: TrainConfig, tmp_path: Path) -> None:
    broken = tmp_path / "broken.h5"
    shutil.copyfile(config.weights, broken)
    with h5py.File(broken, "r+") as file:
        file.visititems(
            lambda name, found: (
                found.write_direct(np.full(found.shape, np.nan, "f4")) if isinstance(found, h5py.Dataset) else None
            )
        )
    with pytest.raises(TrainingError, match=r"2 trials failed, the last lines say why; see .*log\.txt"):
        train(replace(config, weights=str(broken)))
    assert [trial.state for trial in trials_of(config)] == [TrialState.FAIL] * 2


def test_a_storage_that_is_no_journal_is_refused(config: TrainConfig, few_photos: Path) -> None:
    photo = next(few_photos.glob("disc/*.png"))
    content = photo.read_bytes()
    with pytest.raises(PipelineError, match=rf"{photo.name}: no journal of a search \(.*\); name another --storage"):
        train(replace(config, search=Search(trials=1, storage=photo)))
    assert photo.read_bytes() == content


def test_a_teacher_changes_the_loss(config: TrainConfig, teacher: Run) -> None:
    alone, taught = (
        train(replace(config, out=config.out.with_name(name), teacher=folder, search=Search(trials=1)))
        for name, folder in (("alone", None), ("taught", teacher.folder))
    )
    assert taught.record.teacher is not None
    losses = [read_history(run.folder / "history.csv")[0].train_loss for run in (alone, taught)]
    assert np.isfinite(losses).all()
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_a_teacher_of_other_classes_is_refused_before_the_first_trial(
    config: TrainConfig, teacher: Run, tmp_path: Path
) -> None:
    others = draw_shapes(tmp_path / "others", 16)
    (others / SHAPES[0]).rename(others / "circle")
    with pytest.raises(TrainingError, match="the teacher knows cross, disc, stripes; the photos are of circle, disc"):
        train(replace(config, data=others, teacher=teacher.folder))
    assert not config.search.storage.exists()  # type: ignore[union-attr]


def test_a_broken_teacher_is_an_error(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="teacher"):
        train(replace(config, teacher=tmp_path / "teacher"))


def test_a_killed_search_goes_on_with_what_was_completed(config: TrainConfig) -> None:
    config = replace(config, epochs=2)
    with command(config, config.out) as child:
        deadline = time.monotonic() + WAIT_S
        # In its second trial, after a whole epoch.
        while not list(config.out.parent.glob("shared/trials-*/trial-1/backup/*.safetensors")):
            assert child.poll() is None, child.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    before = trials_of(config)
    assert [trial.state for trial in before] == [TrialState.COMPLETE, TrialState.RUNNING]
    with command(config, config.out) as again:
        _, said = again.communicate(timeout=WAIT_S)
    assert again.returncode == 0, said
    first, killed, last = trials_of(config)
    assert first == before[0]
    assert (killed.state, last.state) == (TrialState.FAIL, TrialState.COMPLETE)
    # It takes over the settings and the epoch that was whole.
    assert last.params == killed.params
    assert "goes on after epoch 1" in said
    assert "trial 1 of 2" not in said
    assert_is_the_best(open_run(config.out), config)


def test_two_processes_share_a_search(config: TrainConfig) -> None:
    config = replace(config, search=replace(config.search, trials=4))
    outs = [config.out.with_name(name) for name in ("here", "there")]
    children = [command(config, out) for out in outs]
    said = [child.communicate(timeout=WAIT_S)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert [trial.state for trial in trials_of(config)] == [TrialState.COMPLETE] * 4
    begun = [text.count(" of 4") for text in said]
    assert sum(begun) == 4 and min(begun) >= 1, said
    here, there = map(open_run, outs)
    assert searched(here) == searched(there)
    for run in (here, there):
        assert_is_the_best(run, config)
