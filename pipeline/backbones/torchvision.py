"""torchvision's pretrained weights, by name, into the networks built here. Needs no PyTorch.

The layers of ``resnet``, ``googlenet`` (torchvision's form), ``vgg``, ``alexnet`` and ``mobilenet_v2_torch`` bear the
names of torchvision's modules, so layer ``layer1.0.conv1`` takes the tensor ``layer1.0.conv1.weight``. What is left is
the order of the axes: PyTorch's kernels are (out, in, height, width), its features are flattened channels first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WeightsError


class Family(Enum):
    """Architectures of torchvision that have a counterpart here."""

    ALEXNET = "alexnet"
    GOOGLENET = "googlenet"
    MOBILENET_V2 = "mobilenet_v2"
    RESNET = "resnet"
    VGG = "vgg"


# Tensors that a network without its classification layer has no use for, by how their names begin.
_UNUSED = {
    Family.ALEXNET: ("classifier.6.",),
    Family.GOOGLENET: ("fc.", "aux1.", "aux2."),
    Family.MOBILENET_V2: ("classifier.",),
    Family.RESNET: ("fc.",),
    Family.VGG: ("classifier.",),
}
_COUNTER = ".num_batches_tracked"
_PARTS: Mapping[str, tuple[str, ...]] = {
    "Conv2D": ("weight", "bias"),
    "DepthwiseConv2D": ("weight",),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "Dense": ("weight", "bias"),
}


@dataclass(frozen=True, slots=True)
class _Slot:
    """A variable of the network and the tensor that belongs into it.

    Attributes:
        tensor: its name in the state dict.
        shape: in PyTorch's order of axes.
        variable: of the network.
        arrange: from PyTorch's order of axes to the variable's.
        remedy: what to do about a tensor of another shape.
    """

    tensor: str
    shape: tuple[int, ...]
    variable: Any
    arrange: Callable[[NDArray[Any]], NDArray[Any]]
    remedy: str = "name the network that the file belongs to with --backbone"


def load_torchvision(model: Any, state: Mapping[str, NDArray[Any]], path: Path, family: Family) -> None:
    """Fill a network from a state dict of the same architecture; the classification layer only where there is one.

    Args:
        model: tf_keras.Model of one of the modules above, with or without its classification layer. Its weights are
            replaced, or left as they were when this fails.
        state: from ``read_state``; any floating dtype.
        path: where it comes from, for messages.
        family: says which further tensors are expected in the file and not used.

    Raises:
        WeightsError: a tensor is missing, has another shape, has no finite floats, or belongs to no layer.
    """
    slots = list(_slots(model))
    arranged = [slot.arrange(_checked(slot, state, path, model.name)) for slot in slots]
    used = {slot.tensor for slot in slots}
    for name in state:
        if name not in used and not name.endswith(_COUNTER) and not name.startswith(_UNUSED[family]):
            raise WeightsError(
                f"{path}: tensor {name} belongs to no layer of {model.name}, so the file is of another architecture; "
                f"name the network that it belongs to with --backbone"
            )
    for slot, array in zip(slots, arranged, strict=True):
        slot.variable.assign(array.astype(np.float32))


def _checked(slot: _Slot, state: Mapping[str, NDArray[Any]], path: Path, network: str) -> NDArray[Any]:
    if slot.tensor not in state:
        raise WeightsError(
            f"{path}: no tensor {slot.tensor}, expected one of shape {slot.shape} as in torchvision's {network}; "
            f"name the network that the file belongs to with --backbone"
        )
    array = state[slot.tensor]
    if array.shape != slot.shape:
        raise WeightsError(
            f"{path}: tensor {slot.tensor} has shape {array.shape}, expected {slot.shape} as in torchvision's "
            f"{network}; {slot.remedy}"
        )
    variance = slot.tensor.endswith(".running_var")
    # To NumPy, bfloat16 is not one of its floats.
    floats = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    if not floats or not np.isfinite(array).all() or (variance and (array < 0).any()):
        raise WeightsError(
            f"{path}: tensor {slot.tensor} ({array.dtype}) has values that no weights have, expected finite floats"
            f"{' of 0 and more' if variance else ''}; download the file again"
        )
    return array


def _slots(model: Any) -> Iterator[_Slot]:
    """Every variable of the network."""
    for layer in model.layers:
        # Without a bias a convolution has one variable less.
        for part, variable in zip(_PARTS.get(type(layer).__name__, ()), layer.weights, strict=False):
            yield _slot(layer, f"{layer.name}.{part}", variable)


def _slot(layer: Any, tensor: str, variable: Any) -> _Slot:
    shape = tuple(int(side) for side in variable.shape)
    if len(shape) == 1:
        return _Slot(tensor, shape, variable, lambda array: array)
    if len(shape) == 2:
        return _linear(layer, tensor, shape, variable)
    height, width, second_last, last = shape
    if type(layer).__name__ == "DepthwiseConv2D":
        # (channels, 1, h, w) -> (h, w, channels, 1)
        return _Slot(tensor, (second_last, last, height, width), variable, lambda array: array.transpose(2, 3, 0, 1))
    # (out, in, h, w) -> (h, w, in, out)
    return _Slot(tensor, (last, second_last, height, width), variable, lambda array: array.transpose(2, 3, 1, 0))


def _linear(layer: Any, tensor: str, shape: tuple[int, ...], variable: Any) -> _Slot:
    features, outputs = shape
    picture = _flattened_from(layer)
    if picture is None:
        return _Slot(tensor, (outputs, features), variable, lambda array: array.T)
    height, width, channels = picture

    def arrange(array: NDArray[Any]) -> NDArray[Any]:
        # (out, c * h * w) -> (h * w * c, out)
        kernel = array.reshape(outputs, channels, height, width).transpose(2, 3, 1, 0)
        return np.reshape(kernel, (features, outputs))

    return _Slot(
        tensor,
        (outputs, features),
        variable,
        arrange,
        "a fully connected layer fits one image size: take --size 224, or the --backbone that the file belongs to",
    )


def _flattened_from(layer: Any) -> tuple[int, int, int] | None:
    """(height, width, channels) of the features that a fully connected layer sees flattened, None where it does not."""
    before = layer.inbound_nodes[0].inbound_layers
    while type(before).__name__ == "Dropout":
        before = before.inbound_nodes[0].inbound_layers
    if type(before).__name__ != "Flatten":
        return None
    _, height, width, channels = before.input_shape
    return height, width, channels
