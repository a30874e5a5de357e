"""MobileNetV1, MobileNetV2 and ResNet50 as tf_keras builds them, with Keras' own weights where there is a network."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from pipeline.backbones.base import Backbone, Normalisation
from pipeline.errors import PipelineError, WeightsError

_MINUS_ONE_TO_ONE = Normalisation(mean=(127.5, 127.5, 127.5), scale=127.5)
# ResNet50's weights come from Caffe: blue first, means of ImageNet, no scaling.
_CAFFE = Normalisation(mean=(103.939, 116.779, 123.68), scale=1.0, bgr=True)

_V1_ALPHAS = (0.25, 0.5, 0.75, 1.0)
_V2_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_PRETRAINED_SIZES = (128, 160, 192, 224)


def mobilenet_v1(name: str, alpha: str) -> Backbone:
    """Howard et al., "MobileNets", 2017 (arXiv:1704.04861); any width multiplier."""

    def make(input_shape: tuple[int, int, int], weights: str | None) -> Any:
        from tf_keras.applications import MobileNet

        return MobileNet(input_shape=input_shape, alpha=float(alpha), include_top=False, weights=weights)

    return _mobilenet(name, float(alpha), _V1_ALPHAS, make, unfreeze_from="conv_dw_12")


def mobilenet_v2(name: str, alpha: str) -> Backbone:
    """Sandler et al., "MobileNetV2", 2018 (arXiv:1801.04381); any width multiplier."""

    def make(input_shape: tuple[int, int, int], weights: str | None) -> Any:
        from tf_keras.applications import MobileNetV2

        return MobileNetV2(input_shape=input_shape, alpha=float(alpha), include_top=False, weights=weights)

    return _mobilenet(name, float(alpha), _V2_ALPHAS, make, unfreeze_from="block_13_expand")


def resnet50(name: str) -> Backbone:
    """He et al., "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385)."""

    def make(input_shape: tuple[int, int, int], weights: str | None) -> Any:
        from tf_keras.applications import ResNet50

        return ResNet50(input_shape=input_shape, include_top=False, weights=weights)

    return Backbone(
        name=name,
        default_size=224,
        least_size=32,
        normalisation=_CAFFE,
        unfreeze_from="conv5_block1_1_conv",
        build=lambda input_shape: make(input_shape, None),
        load_imagenet=lambda model: _copy_downloaded(name, model, make),
    )


def _mobilenet(
    name: str,
    alpha: float,
    pretrained: tuple[float, ...],
    make: Callable[[tuple[int, int, int], str | None], Any],
    unfreeze_from: str,
) -> Backbone:
    if not 0.1 <= alpha <= 2.0:
        raise PipelineError(f"'{name}': alpha is {alpha}, expected 0.1 to 2.0; pretrained are {_listed(pretrained)}")

    def load(model: Any) -> None:
        if alpha not in pretrained:
            raise WeightsError(
                f"{name}: there are ImageNet weights for alpha {_listed(pretrained)} only; take one of these, "
                f"or --weights FILE"
            )
        _copy_downloaded(name, model, make)

    return Backbone(
        name=name,
        default_size=224,
        least_size=32,
        normalisation=_MINUS_ONE_TO_ONE,
        unfreeze_from=unfreeze_from,
        build=lambda input_shape: make(input_shape, None),
        load_imagenet=load,
    )


def _copy_downloaded(name: str, model: Any, make: Callable[[tuple[int, int, int], str | None], Any]) -> None:
    size = model.input_shape[1]
    # Keras keeps one file per pretrained size; convolutions fit any, so the largest serves all others.
    side = size if size in _PRETRAINED_SIZES else _PRETRAINED_SIZES[-1]
    try:
        # Keras shows its progress on standard output, which belongs to --json.
        with contextlib.redirect_stdout(sys.stderr):
            downloaded = make((side, side, 3), "imagenet")
    except Exception as err:  # Keras wraps every failure of its download in a bare Exception
        raise WeightsError(
            f"{name}: its weights could not be downloaded; connect this machine to the internet, or give "
            f"--weights FILE, or take --backbone efficientnet-lite0, whose weights are installed already"
        ) from err
    model.set_weights(downloaded.get_weights())


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(str(number) for number in numbers)
