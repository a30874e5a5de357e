"""From a config to photos in their splits: everything that can be refused is refused here, before any training.

Imports no TensorFlow.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.console import say
from device.contract import PreprocessSpec, SplitRule
from pipeline.augmentation.config import AugmentConfig
from pipeline.augmentation.mirror import mirror_warning
from pipeline.backbones import Backbone
from pipeline.backbones.base import IMAGENET, NO_WEIGHTS
from pipeline.backbones.registry import BACKBONE_NAMES, find_backbone, require, resolve
from pipeline.cache import PixelCache, cache_root
from pipeline.config import Budget, TrainConfig
from pipeline.dataset import Dataset, Listing, Photo, Split, check_trainable, list_folder
from pipeline.display import Display
from pipeline.errors import PipelineError
from pipeline.fitted import Labelled, Task
from pipeline.ingest import ingest
from pipeline.run import Run, begin_training, open_run, prepare_folder
from pipeline.split import assign, assign_unknown, check_splits, make_rule


@dataclass(frozen=True, slots=True)
class Job:
    """What is known once the photos are read.

    Attributes:
        config: what was asked for.
        backbone: in the form that fits the weights.
        spec: how photos become pixels.
        pixels: (rows, height, width, 3) uint8 RGB, every photo.
        dataset: which of them is what.
        rule: of the splits.
        splits: the photos of each.
        unknown: photos of no class, to fit and to measure the unknown threshold on.
        teacher: run to learn from, if any.
    """

    config: TrainConfig
    backbone: Backbone
    spec: PreprocessSpec
    pixels: NDArray[np.uint8]
    dataset: Dataset
    rule: SplitRule
    splits: Mapping[Split, tuple[Photo, ...]]
    unknown: tuple[tuple[Photo, ...], tuple[Photo, ...]]
    teacher: Run | None

    def labelled(self, split: Split) -> Labelled:
        """The photos of a split as arrays."""
        photos = self.splits[split]
        labels = np.array([photo.label for photo in photos], np.int64)
        return Labelled(self.pixels_of(photos), labels)

    def pixels_of(self, photos: Sequence[Photo]) -> NDArray[np.uint8]:
        """(n, height, width, 3) uint8 RGB."""
        return self.pixels[[photo.row for photo in photos]]

    @property
    def augmentation(self) -> AugmentConfig:
        """Of the random views."""
        return self.config.augmentation

    def task(self) -> Task:
        """What is to be learned."""
        return Task(
            backbone=self.backbone,
            weights=self.config.weights,
            classes=len(self.dataset.classes),
            train=self.labelled(Split.TRAIN),
            validation=self.labelled(Split.VALIDATION),
            head=self.config.head,
            flip=self.augmentation.flip,
            seed=self.config.seed,
        )

    def fingerprint(self) -> str:
        """Of all that decides what is trained: an interrupted training goes on only if it is the same one."""
        config = self.config
        decisive = (
            version("edgegraft"), self.backbone.name, config.weights, config.budget.value, config.augment.value,
            config.flip, repr(config.head), config.learning_rate, config.epochs, config.target_accuracy,
            str(config.teacher), config.workers.count, config.workers.devices, config.seed,
        )  # fmt: skip
        photos = [(split.value, photo.label, photo.sha256) for split, found in self.splits.items() for photo in found]
        return hashlib.sha256(msgspec.json.encode((decisive, self.spec, photos))).hexdigest()


def prepare_job(config: TrainConfig, display: Display) -> Job:
    """Check what was asked for, read the photos, split them, and make the run's folder ready.

    Raises:
        DatasetError: the photos cannot be trained on.
        WeightsError: there are no such weights.
        RunError: something is in the way at ``config.out``, or the teacher cannot be read.
        PipelineError: settings that contradict one another.
    """
    _check(config)
    names = search_names(config)
    for name, compression in product(names, config.compression):
        require(name, compression)
    backbone = resolve(names[0], config.weights)
    spec = preprocess_spec(config, backbone)
    teacher = open_run(config.teacher) if config.teacher else None
    listing = list_folder(config.data)
    prepare_folder(config.out, config.overwrite)
    cache = PixelCache(cache_root(), spec)
    dataset = _ingest(listing, cache, spec, display)
    check_trainable(dataset)
    rule = make_rule(dataset, config.seed)
    splits = assign(dataset, rule)
    check_splits(splits, dataset.classes)
    unknown = assign_unknown(dataset.unknown, config.seed)
    job = Job(config, backbone, spec, cache.pixels(), dataset, rule, splits, unknown, teacher)
    warning = mirror_warning(dataset.classes, job.augmentation)
    if warning and config.workers.is_chief:
        say(warning)
    if config.workers.is_chief:
        begin_training(config.out)
    return job


def changed(job: Job, config: TrainConfig) -> Job:
    """The same photos in the same splits for another backbone or size.

    Args:
        job: as it was prepared.
        config: differs in the network, its size, the augmentation or the folder to write.
    """
    backbone = resolve(config.backbone, config.weights)
    spec = preprocess_spec(config, backbone)
    if spec == job.spec:
        return replace(job, config=config, backbone=backbone)
    cache = PixelCache(cache_root(), spec)
    dataset = ingest(list_folder(config.data), cache, spec)
    unknown = assign_unknown(dataset.unknown, config.seed)
    splits = assign(dataset, job.rule)
    return Job(config, backbone, spec, cache.pixels(), dataset, job.rule, splits, unknown, job.teacher)


def search_names(config: TrainConfig) -> tuple[str, ...]:
    """The backbones that ``best`` chooses from: the one that was named, or those of a family that have weights.

    Raises:
        PipelineError: there is neither.
    """
    if config.budget is Budget.BEST and config.weights == IMAGENET:
        pattern = re.compile(rf"{re.escape(config.backbone)}-?[\d.]+")
        family = [find_backbone(name) for name in BACKBONE_NAMES if pattern.fullmatch(name)]
        usable = tuple(backbone.name for backbone in family if backbone.load_imagenet is not None)
        if usable:
            return usable
    find_backbone(config.backbone)
    return (config.backbone,)


def preprocess_spec(config: TrainConfig, backbone: Backbone) -> PreprocessSpec:
    """How photos become this training's pixels.

    Raises:
        PipelineError: a size that the backbone cannot take.
    """
    size = backbone.default_size if config.size is None else config.size
    if not backbone.least_size <= size <= 1024:
        raise PipelineError(f"--size {size}: {backbone.name} takes {backbone.least_size} to 1024 pixels")
    return PreprocessSpec(height=size, width=size, fit=config.fit)


def _check(config: TrainConfig) -> None:
    if config.weights == NO_WEIGHTS and config.budget is not Budget.BALANCED:
        raise PipelineError(
            f"--budget {config.budget.value} needs pretrained weights; train from scratch with --budget balanced"
        )
    if config.budget is Budget.FAST and config.teacher:
        raise PipelineError("--budget fast trains a head only and has no use for a teacher; leave out one of the two")
    if config.budget is not Budget.BALANCED and (config.workers.count > 1 or config.workers.devices > 1):
        raise PipelineError(
            f"--budget {config.budget.value} does not train on several devices; take balanced"
            + (", or let the processes share one search with --storage" if config.budget is Budget.BEST else "")
        )


def _ingest(listing: Listing, cache: PixelCache, spec: PreprocessSpec, display: Display) -> Dataset:
    display.begin("photos", len(listing.files) + len(listing.unknown), "photo")
    start = time.monotonic()
    dataset = ingest(listing, cache, spec, display.advance)
    left_out = f", {len(dataset.left_out)} left out" if dataset.left_out else ""
    unknown = f", {len(dataset.unknown)} of no class" if dataset.unknown else ""
    seconds = time.monotonic() - start
    classes = f"{len(dataset.photos)} in {len(dataset.classes)} classes"
    display.end(f"photos      {classes}{unknown}{left_out}, {seconds:.0f} s")
    return dataset
