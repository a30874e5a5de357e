"""Photos to a Run: ingest, split, train, and one look at the test split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision, Fit, PreprocessSpec, SplitRule
from device.prediction import calibrate
from device.quiet import native_stderr_to
from pipeline.backbones import Backbone, find_backbone
from pipeline.backbones.registry import DEFAULT_BACKBONE
from pipeline.cache import PixelCache, cache_root
from pipeline.calibrate import fit_decision
from pipeline.dataset import Dataset, Listing, Photo, Split, check_trainable, list_folder, printable
from pipeline.display import Display, Silent
from pipeline.errors import PipelineError
from pipeline.ingest import ingest
from pipeline.metrics import Scores, score
from pipeline.run import (
    HISTORY,
    LOG,
    RUN_SCHEMA,
    SPLITS,
    WEIGHTS,
    ExportPhotos,
    PhotoCounts,
    Run,
    RunRecord,
    TestScore,
    discard_record,
    prepare_folder,
    save_csv,
    save_photos,
    save_record,
)
from pipeline.split import assign, check_splits, make_rule
from pipeline.workstation import require_tensorflow

if TYPE_CHECKING:
    from pipeline.fitting import Fitted, Labelled

# More photos do not sharpen ranges of activations, they only take time.
_MOST_CALIBRATION_PHOTOS = 200
_MOST_EXPORT_VALIDATION_PHOTOS = 2000


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What to train.

    Attributes:
        data: folder of photos.
        out: the Run folder.
        backbone: see ``pipeline.backbones``.
        weights: ``imagenet`` or a Keras weights file of the backbone without top.
        size: side of the model's square input in pixels; None is the backbone's own.
        fit: how photos of other shapes become square.
        flip: whether training may mirror photos; not where that changes their meaning, as with text or arrows.
        seed: of the splits and of everything that chance decides in training.
        overwrite: whether a finished run in ``out`` may be replaced.
    """

    data: Path
    out: Path
    backbone: str = DEFAULT_BACKBONE
    weights: str = "imagenet"
    size: int | None = None
    fit: Fit = Fit.CENTRE_CROP
    flip: bool = True
    seed: int = 0
    overwrite: bool = False


def train(config: TrainConfig, display: Display | None = None) -> Run:
    """Train a classifier and write the Run folder.

    Args:
        config: what.
        display: is told how it goes.

    Raises:
        DatasetError: the photos cannot be trained on.
        WeightsError: the pretrained weights cannot be had.
        RunError: something is in the way at ``config.out``.
        TrainingError: training failed.
    """
    require_tensorflow()
    start = time.monotonic()
    display = display or Silent()
    backbone = find_backbone(config.backbone)
    spec = _preprocess_spec(config, backbone)
    if config.weights != "imagenet" and not Path(config.weights).is_file():
        raise PipelineError(f"--weights {config.weights}: no such file; give a Keras .h5 file or 'imagenet'")
    listing = list_folder(config.data)
    prepare_folder(config.out, config.overwrite)
    cache = PixelCache(cache_root(), spec)
    dataset = _ingest(listing, cache, spec, display)
    check_trainable(dataset)
    rule = make_rule(dataset, config.seed)
    splits = assign(dataset, rule)
    check_splits(splits, dataset.classes)
    discard_record(config.out)
    job = _Job(config, backbone, spec, cache.pixels(), dataset, rule, splits)
    with native_stderr_to(config.out / LOG):
        return _train(job, display, start)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is known once the photos are read."""

    config: TrainConfig
    backbone: Backbone
    spec: PreprocessSpec
    pixels: NDArray[np.uint8]
    dataset: Dataset
    rule: SplitRule
    splits: Mapping[Split, tuple[Photo, ...]]

    def labelled(self, split: Split) -> Labelled:
        """The photos of a split as arrays."""
        from pipeline.fitting import Labelled

        photos = self.splits[split]
        labels = np.array([photo.label for photo in photos], np.int64)
        return Labelled(self.pixels[[photo.row for photo in photos]], labels)


def _preprocess_spec(config: TrainConfig, backbone: Backbone) -> PreprocessSpec:
    size = backbone.default_size if config.size is None else config.size
    if not backbone.least_size <= size <= 1024:
        raise PipelineError(f"--size {size}: {backbone.name} takes {backbone.least_size} to 1024 pixels")
    return PreprocessSpec(height=size, width=size, fit=config.fit)


def _ingest(listing: Listing, cache: PixelCache, spec: PreprocessSpec, display: Display) -> Dataset:
    display.begin("photos", len(listing.files), "photo")
    start = time.monotonic()
    dataset = ingest(listing, cache, spec, display.advance)
    left_out = f", {len(dataset.left_out)} left out" if dataset.left_out else ""
    seconds = time.monotonic() - start
    display.end(f"photos      {len(dataset.photos)} in {len(dataset.classes)} classes{left_out}, {seconds:.0f} s")
    return dataset


def _train(job: _Job, display: Display, start: float) -> Run:
    from pipeline.augment import AugmentConfig
    from pipeline.fitting import Recipe, Task, fit_classifier
    from pipeline.model import predict

    recipe = Recipe(augmentation=AugmentConfig(flip=job.config.flip))
    train_set, validation = job.labelled(Split.TRAIN), job.labelled(Split.VALIDATION)
    task = Task(
        job.backbone, job.config.weights, len(job.dataset.classes), train_set, validation, recipe, job.config.seed
    )
    fitted = fit_classifier(task, cache_root(), display)
    normalisation = job.backbone.normalisation
    probabilities = predict(fitted.classifier, validation.pixels, normalisation)
    decision = fit_decision(probabilities, validation.labels)
    test = job.labelled(Split.TEST)
    test_probabilities = calibrate(predict(fitted.classifier, test.pixels, normalisation), decision.temperature)
    classes = job.dataset.classes
    test_score, validation_score = (
        score(test_probabilities, test.labels, classes), score(probabilities, validation.labels, classes)
    )  # fmt: skip
    _save(job, fitted, train_set, validation)
    record = _record(job, fitted, asdict(recipe), decision, validation_score, test_score, time.monotonic() - start)
    return save_record(job.config.out, record)


def _save(job: _Job, fitted: Fitted, train_set: Labelled, validation: Labelled) -> None:
    folder = job.config.out
    partial = folder / (WEIGHTS + ".partial.h5")
    fitted.classifier.save_weights(str(partial))
    partial.replace(folder / WEIGHTS)
    chosen = _spread(train_set.labels, _MOST_CALIBRATION_PHOTOS, job.config.seed)
    shown = _spread(validation.labels, _MOST_EXPORT_VALIDATION_PHOTOS, job.config.seed)
    save_photos(folder, ExportPhotos(train_set.pixels[chosen], validation.pixels[shown], validation.labels[shown]))
    rows = [
        (
            split.value,
            job.dataset.classes[photo.label],
            str(photo.path.relative_to(job.dataset.root)),
            photo.sha256,
        )
        for split, photos in job.splits.items()
        for photo in photos
    ]
    save_csv(folder / SPLITS, ("split", "class", "file", "sha256"), rows)
    history = [
        (
            epoch.stage,
            epoch.number,
            epoch.learning_rate,
            epoch.train_loss,
            epoch.validation.loss,
            epoch.validation.accuracy,
        )
        for epoch in fitted.history
    ]
    header = ("stage", "epoch", "learning_rate", "train_loss", "validation_loss", "validation_accuracy")
    save_csv(folder / HISTORY, header, history)


def _record(
    job: _Job,
    fitted: Fitted,
    recipe: dict[str, Any],
    decision: Decision,
    validation: Scores,
    test: Scores,
    seconds: float,
) -> RunRecord:
    config, dataset = job.config, job.dataset
    return RunRecord(
        schema=RUN_SCHEMA,
        edgegraft_version=version("edgegraft"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        data=printable(config.data),
        backbone=config.backbone,
        weights=printable(config.weights),
        seed=config.seed,
        classes=dataset.classes,
        preprocess=job.spec,
        split=job.rule,
        photos=PhotoCounts(**{split.value: len(photos) for split, photos in job.splits.items()}),
        photos_per_class=dataset.counts(),
        left_out=dict(dataset.left_out),
        hyperparameters=_flat(recipe),
        stages=fitted.stages,
        seconds=seconds,
        decision=decision,
        validation_accuracy=validation.accuracy,
        test=TestScore(accuracy=test.accuracy, low=test.low, high=test.high, n=test.n),
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, float | int | str | bool]:
    flat: dict[str, float | int | str | bool] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _spread(labels: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Indices of at most so many photos, every class by turns, in random order within a class."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    # The rank of a photo within its class: sorting by it takes one of each class, then another of each.
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        ranks[members] = np.arange(len(members))
    return np.sort(order[np.argsort(ranks[order], kind="stable")][:most])
