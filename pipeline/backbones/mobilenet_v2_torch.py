"""MobileNetV2: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018 (arXiv:1801.04381).

torchvision's form and names: padding on both sides alike and a batch-norm epsilon of 1e-5. ``keras_applications`` has
Keras' own, which differs in both; weights of the one are wrong in the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.backbones import torch_layers as nn

DEFAULT_SIZE = 224
LEAST_SIZE = 32
# The stem and every inverted residual; the names are the same for every width.
BLOCKS = (
    "features.0.0_pad",
    "features.1.conv.0.0",
    *(f"features.{number}.conv.0.0" for number in range(2, 18)),
    "features.18.0",
)

_STEM, _LAST = 32, 1280
_DROPOUT = 0.2


@dataclass(frozen=True, slots=True)
class _Stage:
    """A row of table 2 of the paper: blocks of one resolution; only the first has the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int


_STAGES = (
    _Stage(expansion=1, channels=16, blocks=1, stride=1),
    _Stage(expansion=6, channels=24, blocks=2, stride=2),
    _Stage(expansion=6, channels=32, blocks=3, stride=2),
    _Stage(expansion=6, channels=64, blocks=4, stride=2),
    _Stage(expansion=6, channels=96, blocks=3, stride=1),
    _Stage(expansion=6, channels=160, blocks=3, stride=2),
    _Stage(expansion=6, channels=320, blocks=1, stride=1),
)


def build(input_shape: tuple[int, int, int], alpha: float = 1.0) -> Any:
    """Build the network up to its last convolution, with random weights.

    Args:
        input_shape: (height, width, channels), sides of 32 or more.
        alpha: width multiplier; torchvision has weights for 1.0.

    Returns:
        tf_keras.Model, (batch, height, width, channels) float32, normalised as ImageNet
        -> (batch, ceil(height / 32), ceil(width / 32), 1280 * max(1, alpha)) float32, 0..6.
    """
    image = nn.image(input_shape)
    return nn.model(image, _features(image, alpha), "mobilenetv2")


def build_classifier(input_shape: tuple[int, int, int], classes: int, alpha: float = 1.0) -> Any:
    """``build`` with average pooling, dropout and a linear layer on top: -> (batch, classes) logits."""
    image = nn.image(input_shape)
    logits = nn.classify(_features(image, alpha), "classifier.1", classes, _DROPOUT)
    return nn.model(image, logits, "mobilenetv2")


def _features(image: Any, alpha: float) -> Any:
    x = _conv_bn_relu6(image, "features.0", _divisible(_STEM * alpha), kernel=3, stride=2)
    for number, (stage, stride) in enumerate(_inverted_residuals(), start=1):
        x = _inverted_residual(x, f"features.{number}.conv", stage, stride, alpha)
    return _conv_bn_relu6(x, "features.18", _divisible(_LAST * max(1.0, alpha)))


def _inverted_residuals() -> Iterator[tuple[_Stage, int]]:
    for stage in _STAGES:
        for block in range(stage.blocks):
            yield stage, stage.stride if block == 0 else 1


def _inverted_residual(inputs: Any, name: str, stage: _Stage, stride: int, alpha: float) -> Any:
    channels = _divisible(stage.channels * alpha)
    x, part = inputs, 0
    if stage.expansion > 1:
        x, part = _conv_bn_relu6(x, f"{name}.0", inputs.shape[-1] * stage.expansion), 1
    x = nn.depthwise_conv2d(x, f"{name}.{part}.0", kernel=3, stride=stride)
    x = nn.relu(nn.batch_norm(x, f"{name}.{part}.1"), f"{name}.{part}.2", maximum=6.0)
    x = nn.batch_norm(nn.conv2d(x, f"{name}.{part + 1}", channels), f"{name}.{part + 2}")
    if stride == 1 and inputs.shape[-1] == channels:
        x = nn.add([inputs, x], f"{name}.add")
    return x


def _conv_bn_relu6(x: Any, name: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
    x = nn.batch_norm(nn.conv2d(x, f"{name}.0", channels, kernel, stride), f"{name}.1")
    return nn.relu(x, f"{name}.2", maximum=6.0)


def _divisible(channels: float) -> int:
    """The nearest multiple of 8 that takes away no more than a tenth (footnote of the authors' code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
