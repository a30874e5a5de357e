"""torchvision's state dicts in the networks built here, against what torchvision itself makes of the same weights."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from numpy.typing import NDArray
from safetensors.numpy import save_file
from test_pipeline_torch_file import _dict, _pickle, _storage, _tensor

from pipeline.backbones import alexnet, googlenet, mobilenet_v2_torch, resnet, vgg
from pipeline.backbones.state_dict import read_state
from pipeline.backbones.torchvision import Family, load_torchvision
from pipeline.errors import WeightsError

State = dict[str, NDArray[np.float32]]

SMALL = (64, 64, 3)
BUILD: dict[str, tuple[Callable[[tuple[int, int, int]], Any], Family]] = {
    "alexnet": (alexnet.build, Family.ALEXNET),
    "googlenet": (partial(googlenet.build, form=googlenet.Form.TORCHVISION), Family.GOOGLENET),
    "mobilenet_v2": (mobilenet_v2_torch.build, Family.MOBILENET_V2),
    "resnet18": (partial(resnet.build, variant=resnet.Variant.RESNET18), Family.RESNET),
    "resnet50": (partial(resnet.build, variant=resnet.Variant.RESNET50), Family.RESNET),
    "vgg16": (partial(vgg.build, variant=vgg.Variant.VGG16), Family.VGG),
}
# Tensors of the complete file that these networks have no use for, and their shapes.
UNUSED = {
    Family.ALEXNET: {"classifier.6.weight": (1000, 4096)},
    Family.GOOGLENET: {"fc.weight": (1000, 1024), "aux1.conv.conv.weight": (128, 512, 1, 1), "aux2.fc1.bias": (1024,)},
    Family.MOBILENET_V2: {"classifier.1.weight": (1000, 1280), "features.0.1.num_batches_tracked": ()},
    Family.RESNET: {"fc.weight": (1000, 512), "fc.bias": (1000,), "bn1.num_batches_tracked": ()},
    Family.VGG: {"classifier.0.bias": (4096,), "classifier.6.bias": (1000,)},
}


def _torch_shapes(model: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the state dict, from the layers: PyTorch's order of axes."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            for part in ("weight", "bias", "running_mean", "running_var"):
                yield f"{layer.name}.{part}", tuple(layer.gamma.shape)
        elif isinstance(layer, tf_keras.layers.DepthwiseConv2D):
            height, width, channels, _ = layer.depthwise_kernel.shape
            yield f"{layer.name}.weight", (channels, 1, height, width)
        elif isinstance(layer, (tf_keras.layers.Conv2D, tf_keras.layers.Dense)):
            *window, inputs, outputs = layer.kernel.shape
            yield f"{layer.name}.weight", (outputs, inputs, *window)
            if layer.use_bias:
                yield f"{layer.name}.bias", (outputs,)


def _values(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Weights that hang on the name alone, so that PyTorch can be given the same."""
    chance = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return chance.uniform(0.5, 1.5, shape).astype(np.float32)
    spread = 0.1 if len(shape) <= 1 else float(2 / np.prod(shape[1:])) ** 0.5
    return np.asarray(chance.standard_normal(shape, np.float32) * np.float32(spread))


def _state(model: Any, family: Family) -> State:
    return {name: _values(name, shape) for name, shape in [*_torch_shapes(model), *UNUSED[family].items()]}


def _torch_zip(state: State) -> bytes:
    """As ``torch.save`` writes it."""
    views = {}
    for number, (name, array) in enumerate(state.items()):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        views[name] = _tensor(_storage(str(number), "FloatStorage", array.size), array.shape, strides)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", _pickle(_dict(views)))
        for number, array in enumerate(state.values()):
            archive.writestr(f"archive/data/{number}", array.tobytes())
    return stream.getvalue()


def _pixels(height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).integers(0, 256, (2, height, width, 3)).astype(np.float32)


def _imagenet(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return np.asarray((pixels / 255 - mean) / deviation, np.float32)


# torchvision 0.28.0 with PyTorch 2.13.0, state dicts of ``_values`` loaded with strict=True: the features that the
# last linear layer sees, or the mean of the last map; the first four of each of the two pictures of ``_pixels``, and
# the root mean square of all. googlenet has transform_input=True, as its pretrained weights switch it on.
TORCHVISION = {
    "resnet18": ((97, 64), [0.0, 18.88787, 88.835, 20.07703, 2.041497, 11.43663, 106.9705, 20.39358], 66.6811),
    "resnet50": (
        (64, 97),
        [4441.93, 11016.41, 16878.69, 11599.06, 4467.484, 10320.77, 17094.95, 11981.82],
        9475.61,
    ),
    "mobilenet_v2": (
        (97, 64),
        [0.1476738, 0.2117407, 5.81831, 1.347609, 0.164307, 0.2311089, 4.488477, 1.173069],
        2.12932,
    ),
    "googlenet": ((97, 64), [0.3748742, 1.432874, 20.2621, 0.0, 0.3398812, 0.8579431, 20.13358, 0.0], 8.38889),
    "alexnet": ((224, 224), [0.0, 11.01564, 4.283255, 0.0, 0.0, 9.499625, 2.502066, 0.0], 4.88883),
    "vgg16": ((64, 32), [1.915516, 6.497064, 1.504181, 2.773108, 1.893266, 6.549994, 1.556083, 2.733348], 2.28619),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_features_are_those_of_torchvision(name: str, tmp_path: Path) -> None:
    (height, width), expected, root_mean_square = TORCHVISION[name]
    build, family = BUILD[name]
    model = build((height, width, 3))
    load_torchvision(model, _state(model, family), tmp_path / "w.pth", family)
    pixels = _pixels(height, width)
    inputs = pixels / 127.5 - 1 if family is Family.GOOGLENET else _imagenet(pixels)
    features = model(inputs, training=False).numpy()
    if features.ndim == 4:
        features = features.mean(axis=(1, 2))
    np.testing.assert_allclose(features[:, :4].ravel(), expected, rtol=2e-4, atol=2e-4 * root_mean_square)
    np.testing.assert_allclose(np.sqrt((features**2).mean()), root_mean_square, rtol=1e-4)


def _save_safetensors(state: State, path: Path) -> None:
    save_file(state, path)


def _save_torch(state: State, path: Path) -> None:
    path.write_bytes(_torch_zip(state))


@pytest.mark.parametrize(
    ("ending", "save"), [(".safetensors", _save_safetensors), (".pth", _save_torch), (".PT", _save_torch)]
)
def test_both_formats_are_read_from_disk(ending: str, save: Callable[[State, Path], None], tmp_path: Path) -> None:
    build, family = BUILD["mobilenet_v2"]
    first, second, path = build(SMALL), build(SMALL), tmp_path / f"weights{ending}"
    state = _state(first, family)
    save(state, path)
    load_torchvision(first, state, path, family)
    load_torchvision(second, read_state(path), path, family)
    assert len(first.weights) > 200
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def _one_layer(layer: Any, shape: tuple[int, ...]) -> Any:
    inputs = tf_keras.layers.Input(shape)
    return tf_keras.Model(inputs, layer(inputs), name="one")


def test_a_convolution_computes_as_pytorch_defines_it(tmp_path: Path) -> None:
    model = _one_layer(tf_keras.layers.Conv2D(5, 3, name="c"), (4, 6, 2))
    state = {"c.weight": _values("c.weight", (5, 2, 3, 3)), "c.bias": _values("c.bias", (5,))}
    load_torchvision(model, state, tmp_path, Family.RESNET)
    x = np.random.default_rng(0).normal(0, 1, (1, 2, 4, 6)).astype(np.float32)  # (batch, channels, height, width)
    expected = np.zeros((5, 2, 4))
    for out in range(5):
        for row in range(2):
            for column in range(4):
                window = x[0, :, row : row + 3, column : column + 3]
                expected[out, row, column] = (window * state["c.weight"][out]).sum() + state["c.bias"][out]
    np.testing.assert_allclose(model(x.transpose(0, 2, 3, 1)).numpy()[0].transpose(2, 0, 1), expected, atol=1e-5)


def test_a_depthwise_convolution_computes_as_pytorch_defines_it(tmp_path: Path) -> None:
    model = _one_layer(tf_keras.layers.DepthwiseConv2D(3, use_bias=False, name="d"), (3, 4, 6))
    state = {"d.weight": _values("d.weight", (6, 1, 3, 3))}
    load_torchvision(model, state, tmp_path, Family.MOBILENET_V2)
    x = np.random.default_rng(0).normal(0, 1, (6, 3, 4)).astype(np.float32)
    expected = [[(x[c, :, column : column + 3] * state["d.weight"][c, 0]).sum() for c in range(6)] for column in (0, 1)]
    np.testing.assert_allclose(model(x.transpose(1, 2, 0)[None]).numpy()[0, 0], expected, atol=1e-5)


def test_batch_norm_computes_as_pytorch_defines_it(tmp_path: Path) -> None:
    model = _one_layer(tf_keras.layers.BatchNormalization(epsilon=1e-5, name="b"), (2, 2, 3))
    state = {f"b.{part}": _values(f"b.{part}", (3,)) for part in ("weight", "bias", "running_mean", "running_var")}
    load_torchvision(model, state, tmp_path, Family.RESNET)
    x = np.random.default_rng(0).normal(0, 1, (1, 2, 2, 3)).astype(np.float32)
    expected = (x - state["b.running_mean"]) / np.sqrt(state["b.running_var"] + 1e-5)
    expected = expected * state["b.weight"] + state["b.bias"]
    np.testing.assert_allclose(model(x, training=False).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("between", [[], [tf_keras.layers.Dropout(0.5, name="drop")]], ids=["directly", "dropout"])
def test_what_sees_flattened_features_computes_as_pytorch_defines_it(between: list[Any], tmp_path: Path) -> None:
    inputs = tf_keras.layers.Input((2, 3, 4))
    x = tf_keras.layers.Flatten()(inputs)
    for layer in between:
        x = layer(x)
    x = tf_keras.layers.Dense(5, name="first")(x)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(2, name="second")(x), name="two")
    shapes = {"first.weight": (5, 24), "first.bias": (5,), "second.weight": (2, 5), "second.bias": (2,)}
    state = {name: _values(name, shape) for name, shape in shapes.items()}
    load_torchvision(model, state, tmp_path, Family.ALEXNET)
    picture = np.random.default_rng(0).normal(0, 1, (4, 2, 3)).astype(np.float32)  # (channels, height, width)
    expected = state["first.weight"] @ picture.ravel() + state["first.bias"]
    expected = state["second.weight"] @ expected + state["second.bias"]
    np.testing.assert_allclose(model(picture.transpose(1, 2, 0)[None]).numpy()[0], expected, atol=1e-5)


def test_half_precision_is_read(tmp_path: Path) -> None:
    model = _one_layer(tf_keras.layers.Dense(2, name="fc"), (3,))
    state = {"fc.weight": np.ones((2, 3), np.float16), "fc.bias": np.full(2, 0.5, np.float64)}
    load_torchvision(model, state, tmp_path, Family.VGG)
    np.testing.assert_array_equal(model(np.ones((1, 3))).numpy(), [[3.5, 3.5]])


def test_bfloat16_is_read_from_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    ones = np.ones(8, np.float32).view(np.uint16)[1::2].tobytes()  # the upper half of a float32
    header = {
        "fc.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "fc.bias": {"dtype": "BF16", "shape": [2], "data_offsets": [12, 16]},
    }
    path.write_bytes(_safetensors(header, ones))
    model = _one_layer(tf_keras.layers.Dense(2, name="fc"), (3,))
    load_torchvision(model, read_state(path), path, Family.VGG)
    np.testing.assert_array_equal(model(np.ones((1, 3))).numpy(), [[4, 4]])


def _refused(change: Callable[[State], None], pattern: str, name: str = "mobilenet_v2") -> None:
    """The file is refused with that message and the network is as before."""
    build, family = BUILD[name]
    model = build(SMALL)
    state = _state(model, family)
    change(state)
    before = model.get_weights()
    with pytest.raises(WeightsError, match=pattern) as caught:
        load_torchvision(model, state, Path("their.pth"), family)
    assert str(caught.value).startswith("their.pth: ")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_missing_tensor_is_named() -> None:
    _refused(
        lambda state: state.__delitem__("features.18.1.running_mean"),
        r"no tensor features\.18\.1\.running_mean, expected one of shape \(1280,\).*; .*--backbone",
    )


@pytest.mark.parametrize("shape", [(1280, 320), (320, 1280, 1, 1), (1280, 320, 3, 3), ()])
def test_a_tensor_of_another_shape_is_named(shape: tuple[int, ...]) -> None:
    _refused(
        lambda state: state.update({"features.18.0.weight": np.zeros(shape, np.float32)}),
        r"tensor features\.18\.0\.weight has shape \(.*\), expected \(1280, 320, 1, 1\) .*; .*--backbone",
    )


@pytest.mark.parametrize(
    ("tensor", "array"),
    [
        ("features.18.1.running_var", np.full(1280, -1e-3, np.float32)),
        ("features.18.1.weight", np.full(1280, np.nan, np.float32)),
        ("features.18.1.bias", np.full(1280, np.inf, np.float32)),
        ("features.18.1.weight", np.ones(1280, np.int8)),
    ],
)
def test_values_that_no_weights_have_are_refused(tensor: str, array: NDArray[Any]) -> None:
    _refused(lambda state: state.update({tensor: array}), rf"tensor {tensor} \({array.dtype}\) has values that no")


def test_a_deeper_networks_file_does_not_pass_for_a_shallower_ones() -> None:
    """resnet101 has every tensor of resnet50, in the same shapes."""
    _refused(
        lambda state: state.update({"layer3.6.conv1.weight": np.zeros((256, 1024, 1, 1), np.float32)}),
        r"tensor layer3\.6\.conv1\.weight belongs to no layer of resnet50.*--backbone",
        "resnet50",
    )


@pytest.mark.parametrize("theirs", ["resnet18", "googlenet", "vgg16"])
def test_another_architecture_is_refused(theirs: str) -> None:
    build, family = BUILD[theirs]
    other = _state(build(SMALL), family)

    def change(state: State) -> None:
        state.clear()
        state.update(other)

    _refused(change, r"no tensor features\.0\.0\.weight, expected .* as in torchvision's mobilenetv2")


def test_alexnet_at_another_size_says_which_size_its_weights_fit() -> None:
    _refused(
        lambda state: state.update({"classifier.1.weight": np.zeros((4096, 9216), np.float32)}),
        r"classifier\.1\.weight has shape \(4096, 9216\), expected \(4096, 256\).*--size 224",
        "alexnet",
    )


HEADER = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def _safetensors(header: Any, data: bytes = bytes(24), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_the_hand_made_safetensors_file_is_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(_safetensors(HEADER))
    assert read_state(path)["w"].shape == (2, 3)


@pytest.mark.parametrize(
    "data",
    [
        _safetensors(HEADER, length=2**63),
        _safetensors(HEADER, length=10**9),
        _safetensors(HEADER, length=3),
        _safetensors(HEADER, data=bytes(23)),
        _safetensors(HEADER, data=bytes(25)),
        _safetensors({"w": HEADER["w"] | {"shape": [2**40, 2**40]}}),
        _safetensors({"w": HEADER["w"] | {"shape": [2, 4]}}),
        _safetensors({"w": HEADER["w"] | {"shape": [-2, -3]}}),
        _safetensors({"w": HEADER["w"] | {"data_offsets": [0, 2**40]}}),
        _safetensors({"w": HEADER["w"] | {"data_offsets": [24, 0]}}),
        _safetensors({"w": HEADER["w"], "v": HEADER["w"]}),
        _safetensors({"w": HEADER["w"] | {"dtype": "OBJECT"}}),
        _safetensors({"w": {"dtype": "F8_E4M3", "shape": [24], "data_offsets": [0, 24]}}),
        _safetensors(b"[" * 100_000),
        _safetensors(b'{"w": 1}'),
        b"",
        bytes(8),
        b"<!DOCTYPE html><html>404</html>",
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        pickle.dumps({"w": 1}),
    ],
    ids=[
        *("header of 8 EiB", "header of 1 GB", "header cut", "data cut", "data left over", "shape of 2^80"),
        *("another shape", "negative shape", "offsets beyond", "offsets backwards", "overlap", "object", "float8"),
        *("nested", "no tensor", "empty", "no header", "web page", "hdf5", "pickle"),
    ],
)
def test_a_lying_safetensors_file_is_refused_with_the_way_out(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "their.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"their\.safetensors: not a safetensors file .*; download it again"):
        read_state(path)


def test_every_truncation_and_no_flipped_byte_does_anything_but_read_or_refuse(tmp_path: Path) -> None:
    path, whole, chance = tmp_path / "w.safetensors", _safetensors(HEADER), random.Random(0)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_state(path)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            tensors = read_state(path)
        except WeightsError:
            continue
        assert all(isinstance(array, np.ndarray) for array in tensors.values())


class _Program:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self._marker),)


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
def test_a_program_in_a_pickle_is_not_run(ending: str, tmp_path: Path) -> None:
    path, marker = tmp_path / f"their{ending}", tmp_path / "executed"
    path.write_bytes(pickle.dumps(_Program(marker), 2))
    with pytest.raises(WeightsError, match=rf"their\{ending}: not a "):
        read_state(path)
    assert not marker.exists()


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.999])
@pytest.mark.parametrize(("ending", "save"), [(".safetensors", _save_safetensors), (".pth", _save_torch)])
def test_a_truncated_file_is_refused(
    ending: str, save: Callable[[State, Path], None], share: float, tmp_path: Path
) -> None:
    path = tmp_path / f"their{ending}"
    save({"a.weight": _values("a.weight", (64, 32, 3, 3)), "a.bias": _values("a.bias", (64,))}, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match=rf"their\{ending}: not a .*; download it again"):
        read_state(path)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("weights.h5", r"weights\.h5: ends in '\.h5', expected one of \.pth, \.pt, \.safetensors"),
        ("weights", r"weights: ends in '', expected one of"),
        ("gone.pth", r"gone\.pth: no such weights file"),
        ("folder.pt", r"folder\.pt: no such weights file"),
    ],
)
def test_what_is_no_file_of_weights(name: str, pattern: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(WeightsError, match=pattern):
        read_state(tmp_path / name)
