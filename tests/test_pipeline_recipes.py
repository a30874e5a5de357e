"""Which settings a budget stands for, and that what was asked for is in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.augmentation.config import Preset
from pipeline.backbones import find_backbone
from pipeline.config import Budget, TrainConfig
from pipeline.display import Silent
from pipeline.job import Job, prepare_job
from pipeline.recipes import Recipe, recipe_for

STAGES = ("top", "deep", "scratch")


@pytest.fixture
def job(make_folder: Callable[..., Path], lenet_weights: Path, tmp_path: Path) -> Job:
    config = TrainConfig(make_folder({"a": 6, "b": 6}), tmp_path / "run", "lenet5", str(lenet_weights))
    return prepare_job(config, Silent())


def _recipe(job: Job, **changes: object) -> Recipe:
    return recipe_for(replace(job, config=replace(job.config, **changes)))  # type: ignore[arg-type]


def test_without_wishes_the_rate_is_found_and_no_target_stops(job: Job) -> None:
    recipe = _recipe(job)
    for name in STAGES:
        stage = getattr(recipe, name)
        assert stage.find_rate
        assert stage.epochs > 0
        assert stage.target_accuracy is None
    assert recipe.deep.epochs > recipe.top.epochs
    assert recipe.deep.layer_decay < 1


def test_a_learning_rate_that_was_asked_for_is_taken_as_it_is(job: Job) -> None:
    recipe = _recipe(job, learning_rate=0.0123)
    for name in STAGES:
        assert getattr(recipe, name).learning_rate == 0.0123
        assert not getattr(recipe, name).find_rate


def test_epochs_that_were_asked_for_are_those_of_the_longest_stage(job: Job) -> None:
    recipe = _recipe(job, epochs=77)
    assert (recipe.deep.epochs, recipe.scratch.epochs) == (77, 77)
    assert recipe.top.epochs == Recipe().top.epochs


def test_a_target_stops_every_stage(job: Job) -> None:
    recipe = _recipe(job, target_accuracy=0.9)
    assert {getattr(recipe, name).target_accuracy for name in STAGES} == {0.9}


def test_fast_trains_no_backbone(job: Job) -> None:
    recipe = _recipe(job, budget=Budget.FAST, learning_rate=0.1, epochs=9)
    assert (recipe.top.epochs, recipe.deep.epochs) == (0, 0)
    assert recipe.head.epochs > 0


def test_views_are_those_of_the_preset_and_not_mirrored_where_that_was_refused(job: Job) -> None:
    assert _recipe(job, augment=Preset.NONE).augmentation.moves is False
    assert _recipe(job).augmentation.flip
    assert not _recipe(job, flip=False).augmentation.flip
    assert _recipe(job, augment=Preset.STRONG).augmentation.cutmix_alpha > 0


@pytest.mark.parametrize(("photos", "views"), [(10, 6), (1000, 6), (2000, 4), (6000, 2), (100_000, 2)])
def test_a_large_set_needs_fewer_views_of_each_photo(photos: int, views: int) -> None:
    assert Recipe().views(photos) == views


def test_from_scratch_the_backbone_says_how_many_photos_make_a_step(job: Job) -> None:
    assert recipe_for(replace(job, backbone=find_backbone("alexnet"))).scratch.batch == 128
    assert _recipe(job).scratch.batch == 64
