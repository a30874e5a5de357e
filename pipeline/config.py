"""What is chosen about a training. Imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from device.contract import Fit
from pipeline.augmentation.config import AugmentConfig, Preset, preset
from pipeline.backbones.base import IMAGENET, Compression
from pipeline.backbones.registry import DEFAULT_BACKBONE
from pipeline.errors import PipelineError


class Budget(Enum):
    """How much work a training may be."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """What classifies the backbone's pooled features.

    Attributes:
        hidden: units of a ReLU layer before the classification layer; 0 leaves it out.
        batch_norm: whether batch norm stands before the (hidden or) classification layer.
        dropout: share of its inputs that the classification layer loses in training.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2015).
    """

    hidden: int = 0
    batch_norm: bool = False
    dropout: float = 0.0
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.hidden <= 65536:
            raise PipelineError(f"--hidden {self.hidden}: expected 0 to 65536 units")
        for name, value in (("--dropout", self.dropout), ("--label-smoothing", self.label_smoothing)):
            if not 0.0 <= value < 1.0:
                raise PipelineError(f"{name} {value}: expected 0 or more, below 1")

    @property
    def is_linear(self) -> bool:
        """Whether the classification layer sees the features as they are."""
        return not self.hidden and not self.batch_norm


@dataclass(frozen=True, slots=True)
class Logging:
    """Where else a training writes what it measures.

    Attributes:
        tensorboard: folder of event files; None: none.
        mlflow: tracking URI; None: none.
    """

    tensorboard: Path | None = None
    mlflow: str | None = None


@dataclass(frozen=True, slots=True)
class Workers:
    """The part of this process in a training on several machines.

    Attributes:
        addresses: ``host:port`` of every worker, in the same order everywhere. Empty: this process is alone.
        index: which of them this is; worker 0 writes the run.
        devices: GPUs (or, where there are none, logical CPU devices) of this machine that train together.
    """

    addresses: tuple[str, ...] = ()
    index: int = 0
    devices: int = 1

    def __post_init__(self) -> None:
        if self.addresses and not 0 <= self.index < len(self.addresses):
            raise PipelineError(f"--worker {self.index}: --workers names {len(self.addresses)}; expected 0 and up")
        if self.devices < 1:
            raise PipelineError(f"--devices {self.devices}: expected 1 or more")

    @property
    def count(self) -> int:
        """How many processes train together."""
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run."""
        return self.index == 0


@dataclass(frozen=True, slots=True)
class Search:
    """What ``best`` tries, and for how long.

    Attributes:
        trials: trainings in all, those of other processes and of an interrupted search included.
        storage: journal file that processes or machines share; None: one in the run folder.
    """

    trials: int = 8
    storage: Path | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise PipelineError(f"--trials {self.trials}: expected 1 or more")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What to train.

    Attributes:
        data: folder of photos.
        out: the Run folder.
        backbone: see ``pipeline.backbones``.
        weights: ``imagenet``, ``none``, or a weights file of the backbone.
        size: side of the model's square input in pixels; None is the backbone's own.
        fit: how photos of other shapes become square.
        compression: what the trained network will have to take later; a backbone that cannot is refused at once.
        budget: how much work.
        augment: how far training's random views may be from the photos.
        flip: whether training may mirror photos; not where that changes their meaning, as with text or arrows.
        head: the classification layers.
        learning_rate: at the peak; None: found by a range test.
        epochs: of the longest stage, at most; None: the budget's own number.
        target_accuracy: on validation; training stops when it is reached. None: it does not.
        teacher: Run whose answers are learned beside the labels; None: none.
        logging: where else figures go.
        workers: the part of this process in a training on several machines or devices.
        search: of ``best``.
        seed: of the splits and of everything that chance decides in training.
        overwrite: whether a finished run in ``out`` may be replaced.
    """

    data: Path
    out: Path
    backbone: str = DEFAULT_BACKBONE
    weights: str = IMAGENET
    size: int | None = None
    fit: Fit = Fit.CENTRE_CROP
    compression: tuple[Compression, ...] = ()
    budget: Budget = Budget.BALANCED
    augment: Preset = Preset.STANDARD
    flip: bool = True
    head: HeadConfig = field(default_factory=HeadConfig)
    learning_rate: float | None = None
    epochs: int | None = None
    target_accuracy: float | None = None
    teacher: Path | None = None
    logging: Logging = field(default_factory=Logging)
    workers: Workers = field(default_factory=Workers)
    search: Search = field(default_factory=Search)
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise PipelineError(f"--learning-rate {self.learning_rate}: expected a number above 0, such as 0.0003")
        if self.epochs is not None and self.epochs < 1:
            raise PipelineError(f"--epochs {self.epochs}: expected 1 or more")
        if self.target_accuracy is not None and not 0 < self.target_accuracy <= 1:
            raise PipelineError(f"--target-accuracy {self.target_accuracy}: expected a fraction such as 0.95")

    @property
    def augmentation(self) -> AugmentConfig:
        """Of the random views."""
        chosen = preset(self.augment)
        return chosen if self.flip else chosen.without_flip()
