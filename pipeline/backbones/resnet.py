"""ResNet: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385).

torchvision's form and names ("v1.5": a bottleneck's stride is on its 3 x 3 convolution, not on the first 1 x 1), so
that its weights give what they give there. ``keras_applications`` has Keras' ResNet50, with other strides and biases.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from pipeline.backbones import torch_layers as nn

DEFAULT_SIZE = 224
LEAST_SIZE = 32

_CHANNELS = (64, 128, 256, 512)
_EXPANSION = 4


class Variant(Enum):
    """By the number of layers with weights (table 1 of the paper)."""

    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"
    RESNET101 = "resnet101"
    RESNET152 = "resnet152"


_BASIC = (Variant.RESNET18, Variant.RESNET34)
_REPEATS = {
    Variant.RESNET18: (2, 2, 2, 2),
    Variant.RESNET34: (3, 4, 6, 3),
    Variant.RESNET50: (3, 4, 6, 3),
    Variant.RESNET101: (3, 4, 23, 3),
    Variant.RESNET152: (3, 8, 36, 3),
}


def _blocks(variant: Variant) -> tuple[str, ...]:
    names = ["conv1_pad"]
    for stage, repeats in enumerate(_REPEATS[variant], start=1):
        for block in range(repeats):
            # A basic block's first convolution may have the stride, and then padding goes before it.
            padded = variant in _BASIC and stage > 1 and block == 0
            names.append(f"layer{stage}.{block}.conv1{'_pad' if padded else ''}")
    return tuple(names)


BLOCKS = {variant: _blocks(variant) for variant in Variant}


def build(input_shape: tuple[int, int, int], variant: Variant) -> Any:
    """Build the network up to its last residual block, with random weights.

    Args:
        input_shape: (height, width, channels), sides of 32 or more.
        variant: how deep.

    Returns:
        tf_keras.Model, (batch, height, width, channels) float32, normalised as ImageNet -> (batch, ceil(height / 32),
        ceil(width / 32), 512 or, with bottlenecks, 2048) float32, >= 0.
    """
    image = nn.image(input_shape)
    return nn.model(image, _features(image, variant), variant.value)


def build_classifier(input_shape: tuple[int, int, int], classes: int, variant: Variant) -> Any:
    """``build`` with average pooling and a linear layer on top: -> (batch, classes) logits."""
    image = nn.image(input_shape)
    return nn.model(image, nn.classify(_features(image, variant), "fc", classes), variant.value)


def _features(image: Any, variant: Variant) -> Any:
    block = _basic if variant in _BASIC else _bottleneck
    x = _conv_bn(image, "conv1", "bn1", _CHANNELS[0], kernel=7, stride=2)
    x = nn.max_pool(nn.relu(x, "relu"), "maxpool", kernel=3, stride=2, padding=1)
    for stage, (channels, repeats) in enumerate(zip(_CHANNELS, _REPEATS[variant], strict=True), start=1):
        for number in range(repeats):
            x = block(x, f"layer{stage}.{number}", channels, stride=2 if stage > 1 and number == 0 else 1)
    return x


def _basic(inputs: Any, name: str, channels: int, stride: int) -> Any:
    x = _conv_bn(inputs, f"{name}.conv1", f"{name}.bn1", channels, kernel=3, stride=stride)
    x = nn.relu(x, f"{name}.relu1")
    x = _conv_bn(x, f"{name}.conv2", f"{name}.bn2", channels, kernel=3)
    return _joined(x, inputs, name, stride)


def _bottleneck(inputs: Any, name: str, channels: int, stride: int) -> Any:
    x = nn.relu(_conv_bn(inputs, f"{name}.conv1", f"{name}.bn1", channels), f"{name}.relu1")
    x = _conv_bn(x, f"{name}.conv2", f"{name}.bn2", channels, kernel=3, stride=stride)
    x = nn.relu(x, f"{name}.relu2")
    x = _conv_bn(x, f"{name}.conv3", f"{name}.bn3", channels * _EXPANSION)
    return _joined(x, inputs, name, stride)


def _joined(x: Any, inputs: Any, name: str, stride: int) -> Any:
    """Add the shortcut; a projection where the shape changes (option B of the paper)."""
    if stride > 1 or inputs.shape[-1] != x.shape[-1]:
        inputs = _conv_bn(inputs, f"{name}.downsample.0", f"{name}.downsample.1", x.shape[-1], stride=stride)
    return nn.relu(nn.add([x, inputs], f"{name}.add"), f"{name}.relu")


def _conv_bn(x: Any, conv: str, bn: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
    return nn.batch_norm(nn.conv2d(x, conv, channels, kernel, stride), bn)
