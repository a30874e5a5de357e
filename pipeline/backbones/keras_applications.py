"""Networks as tf_keras builds them, with Keras' own ImageNet weights where there is a network.

Importing this imports no TensorFlow; building does. Licences of the weights are those of their authors' releases, which
Keras converted: MobileNets, Inception and EfficientNetV2 from TensorFlow's repositories (Apache-2.0), ResNet from
Kaiming He's (MIT), VGG from the University of Oxford's Visual Geometry Group (CC-BY-4.0).
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.backbones.base import Backbone, Compression, Normalisation, WeightSource
from pipeline.backbones.figures import figures
from pipeline.errors import PipelineError, WeightsError

MINUS_ONE_TO_ONE = Normalisation(mean=(127.5, 127.5, 127.5), scale=(127.5, 127.5, 127.5))
# Mean and standard deviation of ImageNet's training photos, red first, times 255.
IMAGENET_STATISTICS = Normalisation(mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
# Weights that come from Caffe: blue first, means of ImageNet, no scaling.
CAFFE = Normalisation(mean=(103.939, 116.779, 123.68), scale=(1.0, 1.0, 1.0), bgr=True)

EVERY_COMPRESSION = frozenset(Compression)

V1_ALPHAS = ("0.25", "0.5", "0.75", "1.0")
V2_ALPHAS = ("0.35", "0.5", "0.75", "1.0", "1.3", "1.4")
# Keras keeps one file per size for MobileNetV1 and V2; convolutions fit any, so the largest serves all others.
_PRETRAINED_SIZES = (128, 160, 192, 224)


@dataclass(frozen=True, slots=True)
class _Network:
    """A function of tf_keras.applications, and what there is to know about what it makes."""

    function: str
    family: str
    normalisation: Normalisation
    blocks: tuple[str, ...]
    unfreeze_from: str
    licence: str = "Apache-2.0"
    default_size: int = 224
    least_size: int = 32
    compression: frozenset[Compression] = EVERY_COMPRESSION
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def make(self, input_shape: tuple[int, int, int], weights: str | None) -> Any:
        """The network without its top; ``weights`` is None or ``imagenet``."""
        from tf_keras import applications

        function = getattr(applications, self.function)
        return function(input_shape=input_shape, include_top=False, weights=weights, **self.arguments)

    def build(self, input_shape: tuple[int, int, int]) -> Any:
        """The network with random weights."""
        model = self.make(input_shape, None)
        _number_layers_from_zero(model)
        return model


def mobilenet_v1(name: str, alpha: str) -> Backbone:
    """Howard et al., "MobileNets", 2017 (arXiv:1704.04861); any width multiplier."""
    width = checked_width(name, alpha, V1_ALPHAS)
    network = _Network(
        function="MobileNet",
        family="MobileNetV1",
        normalisation=MINUS_ONE_TO_ONE,
        blocks=("conv1", *(f"conv_dw_{number}" for number in range(1, 14))),
        unfreeze_from="conv_dw_12",
        arguments={"alpha": width},
    )
    return _of_some_width(_backbone(name, network), width, V1_ALPHAS)


def mobilenet_v2(name: str, alpha: str) -> Backbone:
    """Sandler et al., "MobileNetV2", 2018 (arXiv:1801.04381); any width multiplier."""
    width = checked_width(name, alpha, V2_ALPHAS)
    network = _Network(
        function="MobileNetV2",
        family="MobileNetV2",
        normalisation=MINUS_ONE_TO_ONE,
        blocks=("Conv1", "expanded_conv_depthwise", *(f"block_{n}_expand" for n in range(1, 17)), "Conv_1"),
        unfreeze_from="block_13_expand",
        arguments={"alpha": width},
    )
    return _of_some_width(_backbone(name, network, torch_twin=f"{name}-torch"), width, V2_ALPHAS)


def mobilenet_v3(name: str, size: str, minimalistic: str | None) -> Backbone:
    """Howard et al., "Searching for MobileNetV3", 2019 (arXiv:1905.02244); without squeeze-and-excite, hard swish and
    5x5 convolutions where minimalistic.
    """
    # the last three blocks have the last resolution
    last = 10 if size == "small" else 14
    expanded = tuple(f"expanded_conv_{number}/expand" for number in range(1, last + 1))
    network = _Network(
        function=f"MobileNetV3{size.capitalize()}",
        family="MobileNetV3",
        normalisation=MINUS_ONE_TO_ONE,
        blocks=("Conv", "expanded_conv/depthwise", *expanded, "Conv_1"),
        unfreeze_from=expanded[-3],
        # tfmot cannot quantise the bare TensorFlow operations that Keras makes a hard swish of
        compression=EVERY_COMPRESSION if minimalistic else EVERY_COMPRESSION - {Compression.QAT},
        arguments={"minimalistic": minimalistic is not None, "include_preprocessing": False},
    )
    return _backbone(name, network)


def resnet(name: str, depth: str) -> Backbone:
    """He et al., "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385); stride on the first 1x1."""
    blocks = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}[depth]
    first_layers = (f"conv{s}_block{b}_1_conv" for s, n in enumerate(blocks, start=2) for b in range(1, n + 1))
    network = _Network(
        function=f"ResNet{depth}",
        family="ResNet",
        normalisation=CAFFE,
        blocks=("conv1_pad", *first_layers),
        unfreeze_from="conv5_block1_1_conv",
        licence="MIT",
    )
    return _backbone(name, network, torch_twin=f"{name}-torch")


def vgg(name: str, depth: str) -> Backbone:
    """Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014 (arXiv:1409.1556)."""
    network = _Network(
        function=f"VGG{depth}",
        family="VGG",
        normalisation=CAFFE,
        blocks=tuple(f"block{number}_conv1" for number in range(1, 6)),
        unfreeze_from="block5_conv1",
        licence="CC-BY-4.0",
    )
    return _backbone(name, network, torch_twin=f"{name}-torch")


def inception_v3(name: str) -> Backbone:
    """Szegedy et al., "Rethinking the Inception Architecture", 2015 (arXiv:1512.00567)."""
    stem, modules = (0, 1, 2, 3, 4), (8, 15, 22, 27, 34, 44, 54, 64, 72, 80, 89)
    network = _Network(
        function="InceptionV3",
        family="Inception",
        normalisation=MINUS_ONE_TO_ONE,
        # the longest branch of each module comes first
        blocks=tuple(f"conv2d_{number}" for number in (*stem, *modules)),
        unfreeze_from="conv2d_72",
        default_size=299,
        least_size=75,
        # tfmot takes it, but average pooling stays in float in the file.
        compression=EVERY_COMPRESSION - {Compression.QAT},
    )
    return _backbone(name, network)


def efficientnet_v2_b0(name: str) -> Backbone:
    """Tan and Le, "EfficientNetV2", 2021 (arXiv:2104.00298)."""
    repeats = {2: "ab", 3: "ab", 4: "abc", 5: "abcde", 6: "abcdefgh"}
    expanded = (f"block{stage}{letter}_expand_conv" for stage, letters in repeats.items() for letter in letters)
    network = _Network(
        function="EfficientNetV2B0",
        family="EfficientNetV2",
        normalisation=IMAGENET_STATISTICS,
        blocks=("stem_conv", "block1a_project_conv", *expanded, "top_conv"),
        unfreeze_from="block6a_expand_conv",
        # tfmot cannot quantise the product in a squeeze-and-excite
        compression=EVERY_COMPRESSION - {Compression.QAT},
        arguments={"include_preprocessing": False},
    )
    return _backbone(name, network)


def checked_width(name: str, alpha: str, pretrained: tuple[str, ...]) -> float:
    """A width multiplier that makes sense.

    Raises:
        PipelineError: it is absurd.
    """
    if not 0.1 <= float(alpha) <= 2.0:
        raise PipelineError(
            f"'{name}': alpha is {float(alpha)}, expected 0.1 to 2.0; pretrained are {', '.join(pretrained)}"
        )
    return float(alpha)


def _of_some_width(backbone: Backbone, alpha: float, pretrained: tuple[str, ...]) -> Backbone:
    if alpha in map(float, pretrained):
        return backbone
    return replace(
        backbone,
        source=WeightSource.NONE,
        licence=None,
        load_imagenet=None,
        no_imagenet=f"there are ImageNet weights for alpha {', '.join(pretrained)} only",
    )


def _backbone(name: str, network: _Network, torch_twin: str | None = None) -> Backbone:
    counted = figures(name)
    return Backbone(
        name=name,
        family=network.family,
        default_size=network.default_size,
        least_size=network.least_size,
        normalisation=network.normalisation,
        blocks=network.blocks,
        unfreeze_from=network.unfreeze_from,
        compression=network.compression,
        parameters=counted.parameters,
        multiply_adds=counted.multiply_adds,
        source=WeightSource.DOWNLOAD,
        licence=network.licence,
        build=network.build,
        load_imagenet=lambda model: _copy_downloaded(name, model, network),
        torch_twin=torch_twin,
    )


def _copy_downloaded(name: str, model: Any, network: _Network) -> None:
    size = model.input_shape[1]
    side = size if size in _PRETRAINED_SIZES else _PRETRAINED_SIZES[-1]
    try:
        # Keras shows its progress on standard output, which belongs to --json.
        with contextlib.redirect_stdout(sys.stderr):
            downloaded = network.make((side, side, 3), "imagenet")
    except Exception as err:  # Keras wraps every failure of its download in a bare Exception
        raise WeightsError(
            f"{name}: its weights could not be downloaded; connect this machine to the internet, or give "
            f"--weights FILE, or take --backbone efficientnet-lite0, whose weights are installed already"
        ) from err
    model.set_weights(downloaded.get_weights())


def _number_layers_from_zero(model: Any) -> None:
    """Number nameless layers with weights by their place in this model; Keras counts through the whole process."""
    for kind in ("conv2d", "batch_normalization"):
        numbered = {
            int(layer.name.removeprefix(kind).removeprefix("_") or 0): layer
            for layer in model.layers
            if re.fullmatch(rf"{kind}(_\d+)?", layer.name)
        }
        for place, number in enumerate(sorted(numbered)):
            numbered[number]._name = f"{kind}_{place}"
