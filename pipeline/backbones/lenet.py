"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.

As section II.B has it, with the simplifications that everybody makes: every map of the second convolution sees all six
before it, pooling is a plain average, tanh is not scaled, and the output is a linear layer in place of radial basis
functions. 61,706 parameters for 32 x 32 x 1 and ten classes. There are no pretrained weights.
"""

from __future__ import annotations

from typing import Any

from pipeline.backbones import torch_layers as nn

DEFAULT_SIZE = 32
LEAST_SIZE = 32
BLOCKS = ("conv1", "conv2", "fc1", "fc2")


def build(input_shape: tuple[int, int, int]) -> Any:
    """Build the network up to its last hidden layer, with random weights.

    Args:
        input_shape: (height, width, channels), sides of 32 or more; the first fully connected layer grows with them.

    Returns:
        tf_keras.Model, (batch, height, width, channels) float32, about -1..1 -> (batch, 84) float32, -1..1.
    """
    image = nn.image(input_shape)
    return nn.model(image, _features(image), "lenet5")


def build_classifier(input_shape: tuple[int, int, int], classes: int) -> Any:
    """``build`` with a linear layer on top: -> (batch, classes) logits."""
    image = nn.image(input_shape)
    return nn.model(image, nn.classify(_features(image), "fc3", classes), "lenet5")


def _features(image: Any) -> Any:
    from tf_keras import layers

    # Fan-in only, as the paper draws them: tanh saturates otherwise.
    start = "lecun_uniform"
    x = image
    for number, channels in enumerate((6, 16), start=1):
        x = layers.Conv2D(channels, 5, activation="tanh", kernel_initializer=start, name=f"conv{number}")(x)
        x = layers.AveragePooling2D(2, name=f"pool{number}")(x)
    x = nn.flatten(x, "flatten")
    for number, features in enumerate((120, 84), start=1):
        x = layers.Dense(features, activation="tanh", kernel_initializer=start, name=f"fc{number}")(x)
    return x
