"""GoogLeNet: Szegedy et al., "Going Deeper with Convolutions", 2014 (arXiv:1409.4842), nine inception modules.

Two forms, both with torchvision's names:

- the paper's: 5 x 5 convolutions, biases, no batch norm; 6,998,552 parameters for 1,000 classes;
- torchvision's: batch norm in place of biases, and 3 x 3 convolutions where the paper has 5 x 5 (a mistake its authors
  keep because of the weights); 6,624,904 parameters. Its weights want pixels scaled to -1..1, pixel / 127.5 - 1: they
  come from TensorFlow, and what torchvision calls ``transform_input`` undoes its ImageNet normalisation.

The paper's local response normalisation is left out: it gains nothing measurable (Simonyan and Zisserman 2014,
table 3), and LiteRT has no int8 kernel for it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from pipeline.backbones import torch_layers as nn

DEFAULT_SIZE = 224
LEAST_SIZE = 32
# Of an auxiliary classifier's loss against the main one's (section 5 of the paper).
AUXILIARY_LOSS_WEIGHT = 0.3

_BN_EPSILON = 1e-3
_DROPOUT = 0.4
_AUXILIARY_DROPOUT = 0.7
_AUXILIARY_AT = ("inception4a", "inception4d")


class Form(Enum):
    """Whose GoogLeNet."""

    PAPER = "googlenet"
    TORCHVISION = "googlenet-bn"


# Table 1 of the paper: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def _blocks(suffix: str) -> tuple[str, ...]:
    # The branch of two convolutions is the longest, so Keras lists its first layer before the other branches'.
    inceptions = [f"inception{name}.branch2.0{suffix}" for name in _INCEPTIONS]
    return (f"conv1{suffix}_pad", f"conv2{suffix}", f"conv3{suffix}", *inceptions)


BLOCKS = {Form.PAPER: _blocks(""), Form.TORCHVISION: _blocks(".conv")}


def build(input_shape: tuple[int, int, int], form: Form = Form.PAPER) -> Any:
    """Build the network up to its last inception module, with random weights.

    Args:
        input_shape: (height, width, channels), sides of 32 or more.
        form: the paper's or torchvision's.

    Returns:
        tf_keras.Model, (batch, height, width, channels) float32, -1..1 -> (batch, about height / 32, about width / 32,
        1024) float32, >= 0.
    """
    image = nn.image(input_shape)
    return nn.model(image, _features(image, form), form.value)


def build_classifier(input_shape: tuple[int, int, int], classes: int, form: Form = Form.PAPER) -> Any:
    """``build`` with average pooling, dropout and a linear layer on top: -> (batch, classes) logits."""
    image = nn.image(input_shape)
    return nn.model(image, nn.classify(_features(image, form), "fc", classes, _DROPOUT), form.value)


def with_auxiliary(classifier: Any, classes: int) -> Any:
    """A model to train a classifier by, with the paper's two auxiliary classifiers on inner modules.

    It shares all weights with ``classifier``, which has none of the auxiliary ones: training the one trains the other,
    and to drop them is to go on with ``classifier``. Compile it with ``loss_weights=[1, AUXILIARY_LOSS_WEIGHT,
    AUXILIARY_LOSS_WEIGHT]`` and the same loss and targets for each output.

    Args:
        classifier: tf_keras.Model on a GoogLeNet of ``build``, any head, with probabilities as output.
        classes: how many it has.

    Returns:
        tf_keras.Model, same input -> three times (batch, classes) float32 probabilities, the classifier's own first.
    """
    tensors = [classifier.get_layer(name).output for name in _AUXILIARY_AT]
    auxiliary = [_auxiliary(x, f"aux{number}", classes) for number, x in enumerate(tensors, start=1)]
    return nn.model(classifier.input, [classifier.output, *auxiliary], f"{classifier.name}_with_auxiliary")


def _features(image: Any, form: Form) -> Any:
    x = _conv(image, "conv1", 64, form, kernel=7, stride=2)
    x = nn.max_pool_ceil(x, "maxpool1", kernel=3)
    x = _conv(_conv(x, "conv2", 64, form), "conv3", 192, form, kernel=3)
    x = nn.max_pool_ceil(x, "maxpool2", kernel=3)
    for name, channels in _INCEPTIONS.items():
        if name == "4a":
            x = nn.max_pool_ceil(x, "maxpool3", kernel=3)
        if name == "5a":
            x = nn.max_pool_ceil(x, "maxpool4", kernel=3 if form is Form.PAPER else 2)
        x = _inception(x, f"inception{name}", channels, form)
    return x


def _inception(x: Any, name: str, channels: tuple[int, ...], form: Form) -> Any:
    one, three_reduce, three, five_reduce, five, pool = channels
    branch2 = _conv(x, f"{name}.branch2.0", three_reduce, form)
    branch3 = _conv(x, f"{name}.branch3.0", five_reduce, form)
    return nn.concatenate(
        [
            _conv(x, f"{name}.branch1", one, form),
            _conv(branch2, f"{name}.branch2.1", three, form, kernel=3),
            _conv(branch3, f"{name}.branch3.1", five, form, kernel=5 if form is Form.PAPER else 3),
            _conv(nn.max_pool_same(x, f"{name}.branch4.0", kernel=3), f"{name}.branch4.1", pool, form),
        ],
        name,
    )


def _conv(x: Any, name: str, channels: int, form: Form, kernel: int = 1, stride: int = 1) -> Any:
    if form is Form.PAPER:
        x = nn.conv2d(x, name, channels, kernel, stride, bias=True)
    else:
        x = nn.batch_norm(nn.conv2d(x, f"{name}.conv", channels, kernel, stride), f"{name}.bn", _BN_EPSILON)
    return nn.relu(x, f"{name}.relu")


def _auxiliary(x: Any, name: str, classes: int) -> Any:
    x = nn.average_pool(x, f"{name}.pool", kernel=min(5, *x.shape[1:3]), stride=3)
    x = nn.relu(nn.conv2d(x, f"{name}.conv", 128, bias=True), f"{name}.relu1")
    x = nn.relu(nn.linear(nn.flatten(x, f"{name}.flatten"), f"{name}.fc1", 1024), f"{name}.relu2")
    x = nn.classify(nn.dropout(x, f"{name}.dropout", _AUXILIARY_DROPOUT), f"{name}.fc2", classes)
    return nn.softmax(x, f"{name}.probabilities")
