"""``--budget best``: settings searched with Optuna, each tried by a whole training. Imports TensorFlow.

The search is a journal file that several processes, also on several machines, append to; the weights of every trial
lie beside it. A search that was interrupted goes on with the trials that were completed. Test photos take no part.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import msgspec
import optuna
import tensorflow as tf
import tf_keras
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from device.console import say
from pipeline.augmentation.config import Preset
from pipeline.backbones import find_backbone
from pipeline.callbacks.history_file import read_history
from pipeline.display import Display
from pipeline.distillation import Teacher
from pipeline.errors import TrainingError
from pipeline.fitted import Fitted
from pipeline.fitting import fit_job
from pipeline.job import Job, changed, search_names
from pipeline.keras_classifier import KerasClassifier
from pipeline.model import build_classifier
from pipeline.recipes import recipe_for
from pipeline.run import HISTORY, LOG, SEARCH, StageRecord, discard_backup
from pipeline.session import open_session
from pipeline.stages import quality
from pipeline.trials import TrialFolders

_JOURNAL = "journal.log"
# Of the backbone's default size: smaller is quicker on the board, larger mostly better.
_SIZE_FACTORS = (6 / 7, 1.0, 8 / 7, 9 / 7)
_SIZE_STEP = 32
_LOWEST_RATE, _HIGHEST_RATE = 1e-4, 1e-3
_EPOCHS = (10, 20, 30)
# Attribute of a trial: the number of the one whose process was killed and whose work this one takes over.
_GOES_ON = "goes_on"
_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class _Choice:
    """The settings of one trial."""

    backbone: str
    size: int
    augment: Preset
    learning_rate: float
    layer_decay: float
    epochs: int


def fit_best(job: Job, display: Display) -> tuple[Job, Fitted, dict[str, Any]]:
    """Try settings until the search holds as many trainings as were asked for, and take the best on validation.

    Args:
        job: with the default settings, which are tried first.
        display: is told how it goes.

    Returns:
        the job with the best settings, the classifier that was trained with them, and the settings for the record.

    Raises:
        TrainingError: no trial could be completed, the teacher knows other classes, or the storage is no journal.
        RunError: the teacher's weights are missing or damaged.
    """
    if job.teacher is not None:
        Teacher(job.teacher, job.dataset.classes, (job.spec.height, job.spec.width))  # else every trial would fail
    storage = job.config.search.storage or job.config.out / SEARCH / _JOURNAL
    study = _open_study(job, storage)
    folders = TrialFolders(storage, study.study_name)
    failures = 0
    while failures < job.config.search.trials and (claimed := _next_trial(job, study, folders)) is not None:
        trial, claim = claimed
        with claim:
            failures += not _run_trial(job, study, trial, folders, display)
    if not _completed(study):
        raise TrainingError(f"{failures} trials failed, the last lines say why; see {job.config.out / LOG}")
    return _conclude(job, study, folders)


def _open_study(job: Job, storage: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    # Other photos, settings or choices make another study, also in a file that is shared.
    decisive = (job.fingerprint(), search_names(job.config), _sizes(job))
    try:
        return optuna.create_study(
            study_name=hashlib.sha256(msgspec.json.encode(decisive)).hexdigest()[:16],
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(storage))),
            direction="minimize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(n_startup_trials=4),
        )
    except (ValueError, KeyError, TypeError) as err:  # what reading anything else ends in
        raise TrainingError(f"{storage}: no journal of a search ({err}); name another --storage") from err


def _next_trial(job: Job, study: optuna.Study, folders: TrialFolders) -> tuple[optuna.Trial, IO[bytes]] | None:
    """A trial for this process, and its claim on it; None when the search is complete.

    Where other processes are at work on the last ones it waits for them, so that all end with the same best.
    """
    waits = False
    while True:
        with folders.exclusive():
            done, running = len(_completed(study)), _running(job, study, folders)
            if done + running < job.config.search.trials:
                if not study.get_trials(deepcopy=False):
                    study.enqueue_trial(_defaults(job))
                trial = study.ask()
                if _GOES_ON in trial.user_attrs:
                    folders.move(trial.user_attrs[_GOES_ON], trial.number)
                say(f"trial {done + running + 1} of {job.config.search.trials}")
                return trial, folders.claim(trial.number)
        if not running:
            return None
        if not waits:
            say(f"waits for {running} trials of other processes")
        waits = True
        time.sleep(_POLL_S)


def _running(job: Job, study: optuna.Study, folders: TrialFolders) -> int:
    """How many trials living processes are at work on; those of dead ones are to go on, as another trial."""
    alive = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if folders.is_claimed(trial.number):
            alive += 1
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params or _defaults(job), user_attrs={_GOES_ON: trial.number})
    return alive


def _completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _defaults(job: Job) -> dict[str, Any]:
    recipe = recipe_for(job)
    return {
        "backbone": search_names(job.config)[0],
        "size": min(_sizes(job), key=lambda size: abs(size - job.spec.width)),
        "augment": job.config.augment.value,
        "learning_rate": recipe.deep.learning_rate,
        "layer_decay": recipe.deep.layer_decay,
        "epochs": _EPOCHS[0],
    }


def _sizes(job: Job) -> list[int]:
    """Candidates in rising order; the only one where the user chose."""
    if job.config.size is not None:
        return [job.config.size]
    backbone = job.backbone
    rounded = {round(factor * backbone.default_size / _SIZE_STEP) * _SIZE_STEP for factor in _SIZE_FACTORS}
    return sorted(size for size in rounded if size >= backbone.least_size)


def _presets(job: Job) -> list[str]:
    """Candidates; who asked for no augmentation gets none."""
    asked = job.config.augment
    return [preset.value for preset in Preset if (preset is Preset.NONE) == (asked is Preset.NONE)]


def _choose(job: Job, trial: optuna.Trial) -> _Choice:
    given = job.config.learning_rate
    return _Choice(
        backbone=trial.suggest_categorical("backbone", search_names(job.config)),
        size=trial.suggest_categorical("size", _sizes(job)),
        augment=Preset(trial.suggest_categorical("augment", _presets(job))),
        learning_rate=given or trial.suggest_float("learning_rate", _LOWEST_RATE, _HIGHEST_RATE, log=True),
        layer_decay=trial.suggest_float("layer_decay", 0.7, 1.0),
        epochs=job.config.epochs or trial.suggest_categorical("epochs", _EPOCHS),
    )


def _run_trial(job: Job, study: optuna.Study, trial: optuna.Trial, folders: TrialFolders, display: Display) -> bool:
    """Whether it could be completed; one that could not, as where memory is too small for its size, ends nothing."""
    try:
        loss = _try(job, trial, folders, display)
    except (TrainingError, tf.errors.ResourceExhaustedError) as err:
        study.tell(trial, state=TrialState.FAIL)
        say(f"trial {trial.number} failed: {err}")
        return False
    study.tell(trial, loss)
    folders.forget({found.number for found in _completed(study)} - {study.best_trial.number})
    say(f"best so far: validation loss {study.best_value:.3f}, {_described(study.best_trial)}")
    return True


def _try(job: Job, trial: optuna.Trial, folders: TrialFolders, display: Display) -> float:
    """One training; gives the mean negative log-likelihood on validation."""
    tf_keras.backend.clear_session()
    choice = _choose(job, trial)
    own = _job_of(job, choice, folders.folder(trial.number))
    recipe = recipe_for(own)
    recipe = replace(recipe, deep=replace(recipe.deep, layer_decay=choice.layer_decay))
    with open_session(own, display) as session:
        fitted = fit_job(own, recipe, session)
    validation = own.task().validation
    reached = quality(fitted.classifier.predict(validation.pixels), validation.labels)
    if not math.isfinite(reached.loss):
        raise TrainingError("the classifier's answers are no numbers")
    folders.save_weights(trial.number, fitted.classifier.weights())
    discard_backup(own.config.out)
    trial.set_user_attr("stages", [msgspec.to_builtins(stage) for stage in fitted.stages])
    trial.set_user_attr("choice", {**asdict(choice), "augment": choice.augment.value})
    trial.set_user_attr("accuracy", reached.accuracy)
    return reached.loss


def _job_of(job: Job, choice: _Choice, folder: Path) -> Job:
    config = replace(
        job.config,
        out=folder,
        backbone=choice.backbone,
        size=choice.size,
        augment=choice.augment,
        learning_rate=choice.learning_rate,
        epochs=choice.epochs,
    )
    return changed(job, config)


def _conclude(job: Job, study: optuna.Study, folders: TrialFolders) -> tuple[Job, Fitted, dict[str, Any]]:
    best = study.best_trial
    choice = _Choice(**{**best.user_attrs["choice"], "augment": Preset(best.user_attrs["choice"]["augment"])})
    folder = folders.folder(best.number)
    found = _job_of(job, choice, folder)
    backbone = find_backbone(found.backbone.name)
    model = build_classifier(backbone, len(found.dataset.classes), choice.size, found.config.head)
    model.set_weights(folders.load_weights(best.number))
    if (folder / HISTORY).is_file():  # not where the head alone was kept
        shutil.copyfile(folder / HISTORY, job.config.out / HISTORY)
    stages = msgspec.convert(best.user_attrs["stages"], tuple[StageRecord, ...])
    completed = _completed(study)
    seconds = sum(trial.duration.total_seconds() for trial in completed if trial.duration)
    search = StageRecord(name="search", seconds=seconds, photos_per_second=0.0, epochs=len(completed))
    fitted = Fitted(KerasClassifier(model, backbone.normalisation), (search, *stages), read_history(folder / HISTORY))
    settings = {"search": {"trials": len(completed), **best.user_attrs["choice"]}}
    return replace(found, config=replace(found.config, out=job.config.out)), fitted, settings


def _described(trial: optuna.trial.FrozenTrial) -> str:
    choice = trial.user_attrs["choice"]
    return (
        f"accuracy {trial.user_attrs['accuracy']:.1%}: {choice['backbone']} at {choice['size']} pixels, augmentation "
        f"{choice['augment']}, learning rate {choice['learning_rate']:.1e}, {choice['epochs']} epochs"
    )
