"""Fine-tuning and training from scratch: what learns, what stays as it was, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tf_keras
from trainings import plain_session, shape_task, shapes

from pipeline.augmentation.config import Preset, preset
from pipeline.backbones.base import NO_WEIGHTS
from pipeline.cache import cache_root
from pipeline.config import HeadConfig
from pipeline.display import Silent
from pipeline.errors import TrainingError
from pipeline.fast import fit_fast
from pipeline.fitted import Fitted, Task
from pipeline.fitting import fit_classifier, fit_from_scratch
from pipeline.model import build_classifier
from pipeline.recipes import Recipe, StageConfig
from pipeline.run import StageRecord
from pipeline.stages import quality

SMALLEST = "mobilenetv2-0.35"
NO_STAGE = StageConfig(epochs=0, patience=0)
TUNED = StageConfig(epochs=3, patience=3, batch=16, learning_rate=1e-3, averaging=0.5)
# So short a training of the head leaves much to do for the rest.
HEAD = StageConfig(epochs=2, patience=2, batch=16, learning_rate=1e-3, averaging=0.5)
RECIPE = Recipe(head=HEAD, top=TUNED, deep=replace(TUNED, layer_decay=0.8), most_views=1)
SCRATCH = StageConfig(epochs=25, patience=25, batch=32, learning_rate=3e-3, averaging=0.9)


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned classifier with a large head, and what it began with."""

    task: Task
    fitted: Fitted
    before: tf_keras.Model
    after: tf_keras.Model

    def stage(self, name: str) -> StageRecord:
        [stage] = [stage for stage in self.fitted.stages if stage.name == name]
        return stage


def _model(task: Task, weights: str, arrays: list[np.ndarray] | None = None) -> tf_keras.Model:
    model = build_classifier(task.backbone, task.classes, task.train.pixels.shape[1], task.head, weights)
    if arrays is not None:
        model.set_weights(arrays)
    return model


@pytest.fixture(scope="module")
def tuned(mobilenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    head = HeadConfig(hidden=12, batch_norm=True, dropout=0.2)
    task = shape_task(SMALLEST, mobilenet_weights, 96, head=head)
    fitted = fit_classifier(task, RECIPE, plain_session(tmp_path_factory.mktemp("tuned")))
    after = _model(task, NO_WEIGHTS, fitted.classifier.weights())
    return Tuned(task, fitted, _model(task, task.weights), after)


def test_stages_are_told_in_order_with_their_figures(tuned: Tuned) -> None:
    assert [stage.name for stage in tuned.fitted.stages] == ["features", "head", "views", "top", "deep"]
    assert [tuned.stage(name).epochs for name in ("head", "top", "deep")] == [2, 3, 3]
    assert all(stage.photos_per_second > 0 for stage in tuned.fitted.stages)
    expected = [(name, epoch) for name, epochs in (("head", 2), ("top", 3), ("deep", 3)) for epoch in range(epochs)]
    assert [(line.stage, line.epoch - 1) for line in tuned.fitted.history] == expected


def test_fine_tuning_is_kept_if_validation_says_that_it_is_better(tuned: Tuned) -> None:
    validation = tuned.task.validation
    final = quality(tuned.fitted.classifier.predict(validation.pixels), validation.labels)
    lowest = {
        name: min(line.validation_loss for line in tuned.fitted.history if line.stage == name)
        for name in ("head", "top", "deep")
    }
    kept = [name for name in ("top", "deep") if tuned.stage(name).kept]
    assert kept, "after so little of a head one of the two helps; else the tests below prove nothing"
    assert lowest[kept[-1]] == min(lowest.values())
    # Measured on float16 activations there, on whole photos here.
    assert final.loss == pytest.approx(lowest[kept[-1]], abs=0.02)
    assert final.accuracy > 0.6


def test_layers_below_the_cut_stay_as_they_were_bit_for_bit(tuned: Tuned) -> None:
    names = [layer.name for layer in tuned.before.layers]
    blocks, start = tuned.task.backbone.blocks, tuned.task.backbone.unfreeze_from
    deep = names.index(blocks[max(1, blocks.index(start) * 3 // 5)])
    first = deep if tuned.stage("deep").kept else names.index(start)
    moved = 0
    for position, (old, new) in enumerate(zip(tuned.before.layers, tuned.after.layers, strict=True)):
        for one, other in zip(old.get_weights(), new.get_weights(), strict=True):
            if position < first:
                np.testing.assert_array_equal(one, other, err_msg=old.name)
            elif not isinstance(old, tf_keras.layers.BatchNormalization):
                moved += int((one != other).any())
    assert moved > 5


def test_batch_norm_of_the_backbone_stays_as_it_was(tuned: Tuned) -> None:
    pairs = zip(tuned.before.layers, tuned.after.layers, strict=True)
    norms = {old.name: (old, new) for old, new in pairs if isinstance(old, tf_keras.layers.BatchNormalization)}
    # The head's own learns: nobody has trained it on a million photos.
    assert np.abs(norms.pop("head_bn")[1].get_weights()[2]).max() > 0.01
    assert len(norms) > 40
    for old, new in norms.values():
        for one, other in zip(old.get_weights(), new.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=old.name)


def test_fine_tuning_that_ruins_the_network_is_not_kept(mobilenet_weights: Path, tmp_path: Path) -> None:
    task = shape_task(SMALLEST, mobilenet_weights, 96)
    ruinous = replace(RECIPE, top=replace(TUNED, epochs=1, learning_rate=30.0, averaging=0.0), deep=NO_STAGE)
    fitted = fit_classifier(task, ruinous, plain_session(tmp_path))
    assert [(stage.name, stage.kept) for stage in fitted.stages][-1] == ("top", False)
    head_alone = fit_fast(task, cache_root(), Silent()).classifier
    pixels = task.validation.pixels
    np.testing.assert_allclose(fitted.classifier.predict(pixels), head_alone.predict(pixels), atol=1e-3)


def test_heatmaps_come_from_gradients(tuned: Tuned) -> None:
    pixels, labels = tuned.task.validation.pixels[:3], tuned.task.validation.labels[:3]
    maps = tuned.fitted.classifier.heatmaps(pixels, labels)
    assert maps is not None and maps.shape == (3, 96, 96)
    assert maps.min() >= 0 and maps.max() <= 1


def _from_scratch(folder: Path, config: StageConfig = SCRATCH, seed: int = 0) -> tuple[Task, Fitted]:
    task = shape_task("lenet5", NO_WEIGHTS, 32, each=64, seed=seed)
    recipe = Recipe(augmentation=preset(Preset.LIGHT), scratch=config)
    return task, fit_from_scratch(task, recipe, plain_session(folder))


def test_from_scratch_beats_chance_clearly(tmp_path: Path) -> None:
    _, fitted = _from_scratch(tmp_path)
    unseen = shapes(40, 32, seed=3)
    found = quality(fitted.classifier.predict(unseen.pixels), unseen.labels)
    assert found.accuracy > 0.8, "chance is a third"
    assert found.loss < 0.5 * np.log(3)
    [stage] = fitted.stages
    assert (stage.name, stage.kept, stage.learning_rate) == ("scratch", True, 3e-3)


def test_the_same_seed_gives_the_same_training_and_another_one_another(tmp_path: Path) -> None:
    config = replace(SCRATCH, epochs=2)
    losses = [
        [line.validation_loss for line in _from_scratch(tmp_path / str(number), config, seed)[1].history]
        for number, seed in enumerate((4, 4, 5))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)


def test_a_range_test_finds_another_rate_near_the_given_one_and_leaves_the_weights_alone(tmp_path: Path) -> None:
    far_too_low = replace(SCRATCH, epochs=1, learning_rate=1e-6)
    _, given = _from_scratch(tmp_path / "given", far_too_low)
    _, found = _from_scratch(tmp_path / "found", replace(far_too_low, find_rate=True))
    assert given.stages[0].learning_rate == 1e-6
    assert found.stages[0].learning_rate == pytest.approx(4e-6)
    # At these rates an epoch changes next to nothing: a range test that had gone up to 3e-4 would show.
    for one, other in zip(given.classifier.weights(), found.classifier.weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_target_that_is_reached_ends_the_training(tmp_path: Path) -> None:
    _, fitted = _from_scratch(tmp_path, replace(SCRATCH, target_accuracy=0.34))
    [stage] = fitted.stages
    assert stage.epochs < SCRATCH.epochs
    assert fitted.history[-1].validation_accuracy >= 0.34


def test_a_loss_that_was_never_a_number_is_an_error(tmp_path: Path) -> None:
    task = shape_task("lenet5", NO_WEIGHTS, 32)
    path = tmp_path / "broken.h5"
    broken = task.backbone.build((32, 32, 3))
    broken.set_weights([np.full_like(array, np.nan) for array in broken.get_weights()])
    broken.save_weights(path)
    recipe = Recipe(scratch=replace(SCRATCH, epochs=2))
    with pytest.raises(TrainingError, match=r"the loss of stage 'scratch' became NaN in its first epoch"):
        fit_from_scratch(replace(task, weights=str(path)), recipe, plain_session(tmp_path))
