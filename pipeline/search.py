"""``--budget best``: settings searched with Optuna, each tried by a whole training. Imports TensorFlow.

The search is a journal file that several processes, also on several machines, append to; the weights of every trial
lie beside it. A search that was interrupted goes on with the trials that were completed. Test photos take no part.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import optuna
import tf_keras
from numpy.typing import NDArray
from optuna.storages.journal import JournalFileBackend

from device.console import say
from pipeline.augmentation.config import Preset
from pipeline.backbones import find_backbone
from pipeline.callbacks.history_file import read_history
from pipeline.callbacks.state import numbered, unnumbered
from pipeline.callbacks.storage import read_tensors, write_tensors
from pipeline.display import Display
from pipeline.errors import TrainingError
from pipeline.fitted import Fitted
from pipeline.fitting import fit_job
from pipeline.job import Job, changed, search_names
from pipeline.keras_classifier import KerasClassifier
from pipeline.model import build_classifier
from pipeline.recipes import recipe_for
from pipeline.run import HISTORY, LOG, SEARCH, WEIGHTS, StageRecord, discard_backup
from pipeline.session import open_session
from pipeline.stages import quality

_JOURNAL = "journal.log"
# Of the backbone's default size: smaller is quicker on the board, larger mostly better.
_SIZE_FACTORS = (6 / 7, 1.0, 8 / 7, 9 / 7)
_SIZE_STEP = 32
_LOWEST_RATE, _HIGHEST_RATE = 1e-4, 1e-3
_EPOCHS = (10, 20, 30)


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
        TrainingError: no trial could be completed.
    """
    storage = job.config.search.storage or job.config.out / SEARCH / _JOURNAL
    study = _open_study(job, storage)
    weights = _TrialWeights(storage, study.study_name)
    wanted, failures = job.config.search.trials, 0
    while (done := len(_completed(study))) < wanted:
        say(f"trial {done + 1} of {wanted}")
        study.optimize(lambda trial: _try(job, trial, weights, display), n_trials=1, catch=(TrainingError,))
        failures += len(_completed(study)) == done
        if failures >= wanted:
            raise TrainingError(f"{failures} trials failed, the last lines say why; see {job.config.out / LOG}")
        if _completed(study):
            weights.forget({trial.number for trial in _completed(study)} - {study.best_trial.number})
            say(f"best so far: validation loss {study.best_value:.3f}, {_described(study.best_trial)}")
    return _conclude(job, study, weights)


def _open_study(job: Job, storage: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    backend = optuna.storages.JournalStorage(JournalFileBackend(str(storage)))
    # Other photos or settings make another study, also in a file that is shared.
    name = job.fingerprint()[:16]
    study = optuna.create_study(
        study_name=name,
        storage=backend,
        direction="minimize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(n_startup_trials=4),
    )
    if not study.trials:
        study.enqueue_trial(_defaults(job), skip_if_exists=True)
    return study


def _completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _defaults(job: Job) -> dict[str, Any]:
    recipe = recipe_for(job)
    return {
        "backbone": search_names(job.config)[0],
        "size": _sizes(job)[1 if len(_sizes(job)) > 1 else 0],
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
    rounded = [round(factor * backbone.default_size / _SIZE_STEP) * _SIZE_STEP for factor in _SIZE_FACTORS]
    return [size for size in rounded if size >= backbone.least_size]


def _choose(job: Job, trial: optuna.Trial) -> _Choice:
    given = job.config.learning_rate
    return _Choice(
        backbone=trial.suggest_categorical("backbone", search_names(job.config)),
        size=trial.suggest_categorical("size", _sizes(job)),
        augment=Preset(trial.suggest_categorical("augment", [preset.value for preset in Preset][1:])),
        learning_rate=given or trial.suggest_float("learning_rate", _LOWEST_RATE, _HIGHEST_RATE, log=True),
        layer_decay=trial.suggest_float("layer_decay", 0.7, 1.0),
        epochs=job.config.epochs or trial.suggest_categorical("epochs", _EPOCHS),
    )


def _try(job: Job, trial: optuna.Trial, weights: _TrialWeights, display: Display) -> float:
    """One training; gives the mean negative log-likelihood on validation."""
    tf_keras.backend.clear_session()
    choice = _choose(job, trial)
    own = _job_of(job, choice, weights.folder / f"trial-{trial.number}")
    recipe = recipe_for(own)
    recipe = replace(recipe, deep=replace(recipe.deep, layer_decay=choice.layer_decay))
    with open_session(own, display) as session:
        fitted = fit_job(own, recipe, session)
    validation = own.task().validation
    reached = quality(fitted.classifier.predict(validation.pixels), validation.labels)
    weights.save(trial.number, fitted)
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


def _conclude(job: Job, study: optuna.Study, weights: _TrialWeights) -> tuple[Job, Fitted, dict[str, Any]]:
    best = study.best_trial
    choice = _Choice(**{**best.user_attrs["choice"], "augment": Preset(best.user_attrs["choice"]["augment"])})
    folder = weights.folder / f"trial-{best.number}"
    found = _job_of(job, choice, folder)
    backbone = find_backbone(found.backbone.name)
    model = build_classifier(backbone, len(found.dataset.classes), choice.size, found.config.head)
    model.set_weights(weights.load(best.number))
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


class _TrialWeights:
    """What trials leave behind beside the journal, so that every process of the search can take the best.

    Args:
        storage: the journal.
        study: name of the study, for another one may share the journal.
    """

    def __init__(self, storage: Path, study: str) -> None:
        self.folder = storage.parent / f"trials-{study}"

    def save(self, number: int, fitted: Fitted) -> None:
        """Keep the weights of a trial."""
        write_tensors(self._path(number), numbered(fitted.classifier.weights(), "weight"), {"trial": str(number)})

    def load(self, number: int) -> list[NDArray[Any]]:
        """The weights of a trial.

        Raises:
            TrainingError: they are missing or damaged.
        """
        try:
            return unnumbered(read_tensors(self._path(number))[0], "weight")
        except (OSError, ValueError) as err:
            raise TrainingError(
                f"{self._path(number)}: the best trial's weights are missing or damaged ({err}); all processes of a "
                f"search need the folder of --storage. Remove {self.folder} and the journal, and search again"
            ) from err

    def forget(self, numbers: Iterable[int]) -> None:
        """These trials were not the best."""
        for number in numbers:
            shutil.rmtree(self._path(number).parent, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"trial-{number}" / WEIGHTS
