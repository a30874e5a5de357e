"""Backbones by name: family, dash, variant. Looking one up imports no TensorFlow; building it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pipeline.backbones import keras_applications
from pipeline.backbones.base import Backbone, Normalisation
from pipeline.errors import PipelineError

DEFAULT_BACKBONE = "efficientnet-lite0"


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
    )
