"""Which settings a budget stands for. Imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipeline.augmentation.config import AugmentConfig, Preset, preset
from pipeline.config import Budget
from pipeline.job import Job


@dataclass(frozen=True, slots=True)
class StageConfig:
    """How one stage is trained, with AdamW (Loshchilov and Hutter 2017) and a cosine schedule.

    Attributes:
        epochs: at most; 0 leaves the stage out.
        patience: epochs without a better one on validation before it stops.
        batch: photos per step; from scratch the backbone says how many.
        learning_rate: at the peak.
        find_rate: share of the rate of lowest loss in a range test that becomes the peak, if it is near the one above;
            None: no test.
        warmup_fraction: share of the steps that rise to the peak.
        weight_decay: decoupled from the gradient.
        layer_decay: factor on the rate from each block to the one below it.
        averaging: momentum of the moving average of the weights, per step.
        target_accuracy: on validation, at which it stops; None: it does not.
    """

    epochs: int
    patience: int
    batch: int = 32
    learning_rate: float = 3e-4
    find_rate: float | None = None
    warmup_fraction: float = 0.1
    weight_decay: float = 1e-2
    layer_decay: float = 1.0
    # Twenty steps: about an epoch of a few hundred photos.
    averaging: float = 0.95
    target_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that is chosen about fine-tuning or training from scratch.

    Attributes:
        augmentation: of the random views.
        head: for a head that is no linear one; a linear one is solved, not trained.
        top: fine-tuning of the last blocks.
        deep: fine-tuning of these and of the blocks half-way below them.
        scratch: training from random weights.
        most_views: random views per photo, at most.
        view_budget: views in all, about; a large set needs fewer of each photo.
    """

    augmentation: AugmentConfig = field(default_factory=lambda: preset(Preset.STANDARD))
    head: StageConfig = StageConfig(epochs=40, patience=8, batch=64, learning_rate=1e-3)
    top: StageConfig = StageConfig(epochs=3, patience=3, find_rate=1.0)
    deep: StageConfig = StageConfig(epochs=12, patience=5, find_rate=1.0, layer_decay=0.8, averaging=0.98)
    scratch: StageConfig = StageConfig(epochs=60, patience=15, learning_rate=1e-3, find_rate=0.1, averaging=0.99)
    most_views: int = 5
    view_budget: int = 6000

    def views(self, photos: int) -> int:
        """Views per photo, the plain one included."""
        return 1 + max(1, min(self.most_views, round(self.view_budget / photos)))


_NONE = StageConfig(epochs=0, patience=0)


def recipe_for(job: Job) -> Recipe:
    """The recipe of a training, with what was asked for in it."""
    config = job.config
    recipe = Recipe(augmentation=job.augmentation)
    if config.budget is Budget.FAST:
        return replace(recipe, top=_NONE, deep=_NONE)

    def asked(stage: StageConfig, longest: bool) -> StageConfig:
        found = config.learning_rate is None
        return replace(
            stage,
            learning_rate=stage.learning_rate if config.learning_rate is None else config.learning_rate,
            find_rate=stage.find_rate if found else None,
            epochs=config.epochs if longest and config.epochs else stage.epochs,
            target_accuracy=config.target_accuracy,
        )

    return replace(
        recipe,
        top=asked(recipe.top, longest=False),
        deep=asked(recipe.deep, longest=True),
        scratch=asked(replace(recipe.scratch, batch=job.backbone.scratch_batch), longest=True),
    )
