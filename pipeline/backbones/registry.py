"""Backbones by name: family, dash, variant. Looking one up imports no TensorFlow; building it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pipeline.backbones import keras_applications as keras
from pipeline.backbones import own_networks as own
from pipeline.backbones.base import IMAGENET, NO_WEIGHTS, Backbone, Compression, is_torch_file
from pipeline.errors import PipelineError

DEFAULT_BACKBONE = "efficientnet-lite0"

_ALPHA = r"(\d+(?:\.\d+)?)"
# Pattern of the name, what makes the backbone of it, and the names that a list shows.
_FAMILIES: tuple[tuple[str, Callable[..., Backbone], tuple[str, ...]], ...] = (
    (r"efficientnet-lite([0-4])", own.efficientnet_lite_n, tuple(f"efficientnet-lite{n}" for n in range(5))),
    (rf"mobilenetv1-{_ALPHA}", keras.mobilenet_v1, tuple(f"mobilenetv1-{alpha}" for alpha in keras.V1_ALPHAS)),
    (rf"mobilenetv2-{_ALPHA}", keras.mobilenet_v2, tuple(f"mobilenetv2-{alpha}" for alpha in keras.V2_ALPHAS)),
    (rf"mobilenetv2-{_ALPHA}-torch", own.mobilenet_v2_torch_form, ("mobilenetv2-1.0-torch",)),
    (
        r"mobilenetv3-(small|large)(-minimalistic)?",
        keras.mobilenet_v3,
        tuple(f"mobilenetv3-{size}{form}" for size in ("small", "large") for form in ("", "-minimalistic")),
    ),
    (r"efficientnetv2-b0", keras.efficientnet_v2_b0, ("efficientnetv2-b0",)),
    (r"resnet(18|34)", own.resnet_torch, ("resnet18", "resnet34")),
    (r"resnet(50|101|152)", keras.resnet, ("resnet50", "resnet101", "resnet152")),
    (r"resnet(50|101|152)-torch", own.resnet_torch, ("resnet50-torch", "resnet101-torch", "resnet152-torch")),
    (r"inceptionv3", keras.inception_v3, ("inceptionv3",)),
    (r"vgg(16|19)", keras.vgg, ("vgg16", "vgg19")),
    (r"vgg(16|19)-torch", own.vgg_torch, ("vgg16-torch", "vgg19-torch")),
    (r"googlenet", own.googlenet_of_the_paper, ("googlenet",)),
    (r"googlenet-bn", own.googlenet_bn, ("googlenet-bn",)),
    (r"alexnet", own.alexnet_one_tower, ("alexnet",)),
    (r"lenet5", own.lenet5, ("lenet5",)),
)

BACKBONE_NAMES = tuple(name for _, _, names in _FAMILIES for name in names)


def find_backbone(name: str) -> Backbone:
    """The backbone of that name.

    Raises:
        PipelineError: there is none; the message lists what there is.
    """
    for pattern, make, _ in _FAMILIES:
        match = re.fullmatch(pattern, name)
        if match:
            return make(name, *match.groups())
    raise PipelineError(
        f"no backbone '{name}'; there are {', '.join(BACKBONE_NAMES)}, "
        f"and mobilenetv1-ALPHA and mobilenetv2-ALPHA of any other width"
    )


def require(name: str, compression: Compression) -> None:
    """Refuse a backbone that cannot take a compression, before any training.

    Raises:
        PipelineError: it cannot; the message names what it takes and which backbones can.
    """
    backbone = find_backbone(name)
    if compression in backbone.compression:
        return
    able = [other for other in BACKBONE_NAMES if compression in find_backbone(other).compression]
    takes = ", ".join(known.value for known in Compression if known in backbone.compression)
    # One of each family, for a person has to read it.
    shown = {find_backbone(other).family: other for other in reversed(able)}
    raise PipelineError(
        f"{name} cannot take {compression.value}, only {takes}; backbones that can are "
        f"{', '.join(sorted(shown.values()))} and others, see --list-backbones"
    )


def resolve(name: str, weights: str) -> Backbone:
    """The backbone that is to be trained from these weights, its twin in torchvision's form where the file asks for it.

    Args:
        name: of the backbone.
        weights: ``imagenet``, ``none``, or a file: see ``Backbone.load_weights``.

    Returns:
        the backbone whose name belongs into the record.

    Raises:
        PipelineError: there is no such backbone.
        WeightsError: there are no such weights for it; which of the ways there are is in the message.
    """
    backbone = find_backbone(name)
    from_torch = weights not in (IMAGENET, NO_WEIGHTS) and is_torch_file(Path(weights))
    if from_torch and backbone.load_state is None and backbone.torch_twin is not None:
        backbone = find_backbone(backbone.torch_twin)
    backbone.check_weights(weights)
    return backbone
