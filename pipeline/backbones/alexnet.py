"""AlexNet on one device: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014
(arXiv:1404.5997), section 5, with the dropout of Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", 2012.

torchvision's form and names: 61,100,840 parameters for 1,000 classes. Local response normalisation is left out as
there: it gains nothing measurable (Simonyan and Zisserman 2014, table 3), and LiteRT has no int8 kernel for it.
"""

from __future__ import annotations

from typing import Any

from pipeline.backbones import torch_layers as nn

DEFAULT_SIZE = 224
# Below, nothing is left for the third pooling.
LEAST_SIZE = 63
BLOCKS = (
    "features.0_pad",
    "features.3",
    "features.6",
    "features.8",
    "features.10",
    "classifier.1",
    "classifier.4",
)

# Of the 2012 paper.
BATCH = 128

_DROPOUT = 0.5
_FULLY_CONNECTED = 4096


def build(input_shape: tuple[int, int, int]) -> Any:
    """Build the network up to its last hidden layer, with random weights.

    Args:
        input_shape: (height, width, channels). torchvision's weights fit 224 x 224: the first fully connected layer
            has a size of its own at any other.

    Returns:
        tf_keras.Model, (batch, height, width, channels) float32, normalised as ImageNet -> (batch, 4096) float32, >= 0.
    """
    image = nn.image(input_shape)
    return nn.model(image, _features(image), "alexnet")


def build_classifier(input_shape: tuple[int, int, int], classes: int) -> Any:
    """``build`` with a linear layer on top: -> (batch, classes) logits."""
    image = nn.image(input_shape)
    return nn.model(image, nn.classify(_features(image), "classifier.6", classes), "alexnet")


def _features(image: Any) -> Any:
    x = nn.conv2d(image, "features.0", 64, kernel=11, stride=4, padding=2, bias=True)
    x = nn.max_pool(nn.relu(x, "features.1"), "features.2", kernel=3, stride=2)
    x = nn.conv2d(x, "features.3", 192, kernel=5, bias=True)
    x = nn.max_pool(nn.relu(x, "features.4"), "features.5", kernel=3, stride=2)
    for index, channels in ((6, 384), (8, 256), (10, 256)):
        x = nn.relu(nn.conv2d(x, f"features.{index}", channels, kernel=3, bias=True), f"features.{index + 1}")
    x = nn.flatten(nn.max_pool(x, "features.12", kernel=3, stride=2), "flatten")
    for index in (0, 3):
        x = nn.dropout(x, f"classifier.{index}", _DROPOUT)
        x = nn.relu(nn.linear(x, f"classifier.{index + 1}", _FULLY_CONNECTED), f"classifier.{index + 2}")
    return x
