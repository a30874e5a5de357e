"""tf_keras layers that compute what those of ``torch.nn`` compute. Importing this imports no TensorFlow; calling does.

PyTorch pads both sides alike, TensorFlow's "same" puts the odd pixel behind: with a stride the two differ by a pixel,
so strided layers are padded explicitly here. Weights get He's normal initialisation ("Delving Deep into Rectifiers",
2015, arXiv:1502.01852).

Tensors are (batch, height, width, channels) float32. A layer's name is the name of the same layer in torchvision's
state dict wherever it has weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# torch.nn.BatchNorm2d's defaults; its momentum is the share of the new value, Keras' that of the old.
BN_EPSILON = 1e-5
_BN_MOMENTUM = 0.9


def image(input_shape: tuple[int, int, int]) -> Any:
    """The input, (height, width, channels), already normalised."""
    return _layers().Input(input_shape, name="image")


def conv2d(
    x: Any, name: str, channels: int, kernel: int = 1, stride: int = 1, padding: int | None = None, bias: bool = False
) -> Any:
    """Square convolution; ``padding`` pixels on each side, half a kernel unless told."""
    x, mode = _padded(x, name, kernel, stride, kernel // 2 if padding is None else padding)
    return _layers().Conv2D(
        channels, kernel, stride, padding=mode, use_bias=bias, kernel_initializer="he_normal", name=name
    )(x)


def depthwise_conv2d(x: Any, name: str, kernel: int, stride: int) -> Any:
    """Depthwise convolution without bias, half a kernel of padding."""
    from tf_keras.initializers import VarianceScaling

    x, mode = _padded(x, name, kernel, stride, kernel // 2)
    # Keras counts all channels into a depthwise kernel's fan-in; its fan-out is what one output really sums over.
    initializer = VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return _layers().DepthwiseConv2D(
        kernel, stride, padding=mode, use_bias=False, depthwise_initializer=initializer, name=name
    )(x)


def batch_norm(x: Any, name: str, epsilon: float = BN_EPSILON) -> Any:
    """Batch normalisation over the channels."""
    return _layers().BatchNormalization(momentum=_BN_MOMENTUM, epsilon=epsilon, name=name)(x)


def relu(x: Any, name: str, maximum: float | None = None) -> Any:
    """max(x, 0), at most ``maximum``."""
    return _layers().ReLU(maximum, name=name)(x)


def max_pool(x: Any, name: str, kernel: int, stride: int, padding: int = 0) -> Any:
    """Largest of each window, whole windows only. ``padding`` asks for x >= 0, as zeros are put in."""
    if padding:
        x = _layers().ZeroPadding2D(padding, name=f"{name}_pad")(x)
    return _layers().MaxPooling2D(kernel, stride, name=name)(x)


def max_pool_ceil(x: Any, name: str, kernel: int) -> Any:
    """Largest of each window, stride 2, with the last window reaching over the edge (``ceil_mode``), as Caffe has it.

    kernel: 2 or 3. x >= 0, as zeros may be put in.
    """
    # What is missing to a last whole window: with 3 a pixel of an even side, with 2 a pixel of an odd one.
    short = [(side + kernel) % 2 for side in x.shape[1:3]]
    if short[0] == short[1]:
        return _layers().MaxPooling2D(kernel, 2, padding="same" if short[0] else "valid", name=name)(x)
    x = _layers().ZeroPadding2D(((0, short[0]), (0, short[1])), name=f"{name}_pad")(x)
    return _layers().MaxPooling2D(kernel, 2, name=name)(x)


def max_pool_same(x: Any, name: str, kernel: int) -> Any:
    """Largest of each window around a pixel; stride 1."""
    return _layers().MaxPooling2D(kernel, 1, padding="same", name=name)(x)


def average_pool(x: Any, name: str, kernel: int, stride: int) -> Any:
    """Mean of each window; windows that do not fit are left out."""
    return _layers().AveragePooling2D(kernel, stride, name=name)(x)


def linear(x: Any, name: str, features: int) -> Any:
    """Fully connected with bias; (batch, n) in."""
    return _layers().Dense(features, kernel_initializer="he_normal", name=name)(x)


def classify(x: Any, name: str, classes: int, dropout: float = 0.0) -> Any:
    """Logits (batch, classes) of features (batch, n), or of (batch, h, w, n) averaged over the picture."""
    if len(x.shape) == 4:
        x = _layers().GlobalAveragePooling2D(name="avgpool")(x)
    if dropout:
        x = _layers().Dropout(dropout, name=f"{name}_dropout")(x)
    return _layers().Dense(classes, name=name)(x)


def model(inputs: Any, outputs: Any, name: str) -> Any:
    """A tf_keras.Model."""
    import tf_keras

    return tf_keras.Model(inputs, outputs, name=name)


def softmax(x: Any, name: str) -> Any:
    """Probabilities of logits."""
    return _layers().Softmax(name=name)(x)


def add(tensors: Sequence[Any], name: str) -> Any:
    """Their sum."""
    return _layers().Add(name=name)(list(tensors))


def concatenate(tensors: Sequence[Any], name: str) -> Any:
    """Their channels one after the other."""
    return _layers().Concatenate(name=name)(list(tensors))


def flatten(x: Any, name: str) -> Any:
    """(batch, h * w * channels), channels fastest; PyTorch has them slowest, see ``torchvision``."""
    return _layers().Flatten(name=name)(x)


def dropout(x: Any, name: str, rate: float) -> Any:
    """Drops a share of the values in training."""
    return _layers().Dropout(rate, name=name)(x)


def _padded(x: Any, name: str, kernel: int, stride: int, padding: int) -> tuple[Any, str]:
    if stride == 1 and 2 * padding + 1 == kernel:
        return x, "same"
    if padding:
        x = _layers().ZeroPadding2D(padding, name=f"{name}_pad")(x)
    return x, "valid"


def _layers() -> Any:
    from tf_keras import layers

    return layers
