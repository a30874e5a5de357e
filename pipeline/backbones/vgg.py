"""VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014
(arXiv:1409.1556), configurations D and E.

torchvision's names. The backbone is the convolutional part; its three fully connected layers, nine tenths of the
parameters, are the classifier's and give way to the new head.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from pipeline.backbones import torch_layers as nn

DEFAULT_SIZE = 224
LEAST_SIZE = 32

_CHANNELS = (64, 128, 256, 512, 512)
_FULLY_CONNECTED = 4096
_DROPOUT = 0.5


class Variant(Enum):
    """By the number of layers with weights: convolutions plus three fully connected."""

    VGG16 = "vgg16"
    VGG19 = "vgg19"


_CONVOLUTIONS = {Variant.VGG16: (2, 2, 3, 3, 3), Variant.VGG19: (2, 2, 4, 4, 4)}
BLOCKS = {
    Variant.VGG16: ("features.0", "features.5", "features.10", "features.17", "features.24"),
    Variant.VGG19: ("features.0", "features.5", "features.10", "features.19", "features.28"),
}


def build(input_shape: tuple[int, int, int], variant: Variant) -> Any:
    """Build the convolutional part with random weights.

    Args:
        input_shape: (height, width, channels), sides of 32 or more.
        variant: how deep.

    Returns:
        tf_keras.Model, (batch, height, width, channels) float32, normalised as ImageNet
        -> (batch, height // 32, width // 32, 512) float32, >= 0.
    """
    image = nn.image(input_shape)
    return nn.model(image, _features(image, variant), variant.value)


def build_classifier(input_shape: tuple[int, int, int], classes: int, variant: Variant) -> Any:
    """The whole network of the paper: -> (batch, classes) logits. 138 million parameters and more."""
    image = nn.image(input_shape)
    x = nn.flatten(_features(image, variant), "flatten")
    for index in (0, 3):
        x = nn.relu(nn.linear(x, f"classifier.{index}", _FULLY_CONNECTED), f"classifier.{index + 1}")
        x = nn.dropout(x, f"classifier.{index + 2}", _DROPOUT)
    return nn.model(image, nn.classify(x, "classifier.6", classes), variant.value)


def _features(x: Any, variant: Variant) -> Any:
    index = 0  # torchvision counts convolutions, activations and pools together
    for channels, convolutions in zip(_CHANNELS, _CONVOLUTIONS[variant], strict=True):
        for _ in range(convolutions):
            x = nn.conv2d(x, f"features.{index}", channels, kernel=3, bias=True)
            x = nn.relu(x, f"features.{index + 1}")
            index += 2
        x = nn.max_pool(x, f"features.{index}", kernel=2, stride=2)
        index += 1
    return x
