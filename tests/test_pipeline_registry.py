"""Backbones by name and by list, their weights, and what they take: refused in one clear line, before any training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.backbones import Compression, WeightSource, backbone_rows, backbone_table, find_backbone, resolve
from pipeline.backbones.efficientnet_lite import wheel_file
from pipeline.backbones.registry import BACKBONE_NAMES, require
from pipeline.errors import PipelineError, WeightsError

# As torchvision counts its networks with 1,000 classes, and how many features their last layer sees.
TORCHVISION = {
    "resnet18": (11_689_512, 512),
    "resnet34": (21_797_672, 512),
    "resnet50-torch": (25_557_032, 2048),
    "resnet101-torch": (44_549_160, 2048),
    "resnet152-torch": (60_192_808, 2048),
    "googlenet-bn": (6_624_904, 1024),
    "alexnet": (61_100_840, 4096),
    "mobilenetv2-1.0-torch": (3_504_872, 1280),
}
# Of the papers and their authors' code, in millions: the classification layer adds less than two.
MULTIPLY_ADDS = {
    "mobilenetv1-1.0": 569,
    "mobilenetv1-0.25": 41,
    "mobilenetv2-1.0": 300,
    "mobilenetv2-0.35": 59,
    "mobilenetv2-1.4": 582,
    "mobilenetv3-small": 56,
    "mobilenetv3-small-minimalistic": 52,
    "mobilenetv3-large": 217,
    "mobilenetv3-large-minimalistic": 209,
    "resnet18": 1_814,
    "resnet50-torch": 4_089,
}


@pytest.mark.parametrize("name", BACKBONE_NAMES)
def test_a_listed_backbone_is_found_and_whole(name: str) -> None:
    backbone = find_backbone(name)
    assert backbone.name == name
    assert backbone.unfreeze_from in backbone.blocks
    assert len(set(backbone.blocks)) == len(backbone.blocks)
    assert 32 <= backbone.least_size <= backbone.default_size
    assert min(backbone.normalisation.scale) > 0
    assert backbone.parameters and backbone.multiply_adds
    assert (backbone.licence is None) == (backbone.source is WeightSource.NONE)
    assert (backbone.load_imagenet is None) == (backbone.source in (WeightSource.FILE, WeightSource.NONE))
    assert {Compression.FLOAT16, Compression.INT8} <= backbone.compression


def test_the_list_has_what_the_documentation_promises() -> None:
    promised = "lenet5 alexnet googlenet googlenet-bn resnet18 resnet34 resnet50 resnet101 resnet152 vgg16 vgg19"
    promised += " mobilenetv1-0.25 mobilenetv2-0.35 mobilenetv2-1.0-torch mobilenetv3-small mobilenetv3-large"
    promised += " mobilenetv3-small-minimalistic mobilenetv3-large-minimalistic inceptionv3 efficientnetv2-b0"
    promised += " efficientnet-lite0 efficientnet-lite1 efficientnet-lite2 efficientnet-lite3 efficientnet-lite4"
    assert set(promised.split()) <= set(BACKBONE_NAMES)
    assert len(set(BACKBONE_NAMES)) == len(BACKBONE_NAMES)


@pytest.mark.parametrize(
    "name",
    ["", "mobilenet", "mobilenetv2", "mobilenetv2-", "MobileNetV2-1.0", "resnet500", "vgg", "efficientnet-lite5"],
)
def test_an_unknown_name_lists_the_choices(name: str) -> None:
    with pytest.raises(PipelineError) as caught:
        find_backbone(name)
    message = str(caught.value)
    assert f"'{name}'" in message
    for choice in ("efficientnet-lite0", "mobilenetv1-ALPHA", "mobilenetv2-ALPHA", "resnet50", "lenet5"):
        assert choice in message


@pytest.mark.parametrize("name", ["mobilenetv1-0.05", "mobilenetv2-2.1", "mobilenetv2-0", "mobilenetv2-99-torch"])
def test_an_absurd_width_is_refused(name: str) -> None:
    with pytest.raises(PipelineError, match=r"expected 0\.1 to 2\.0; pretrained are"):
        find_backbone(name)


@pytest.mark.parametrize(("name", "published"), TORCHVISION.items())
def test_parameters_are_as_many_as_published(name: str, published: tuple[int, int]) -> None:
    parameters, features = published
    assert find_backbone(name).parameters == parameters - 1000 * (features + 1)


@pytest.mark.parametrize(("name", "published"), MULTIPLY_ADDS.items())
def test_multiply_adds_are_as_many_as_published(name: str, published: int) -> None:
    assert (find_backbone(name).multiply_adds or 0) / 1e6 == pytest.approx(published, abs=3.5)


def test_a_width_that_nobody_pretrained_has_no_figures_and_no_licence() -> None:
    backbone = find_backbone("mobilenetv2-0.42")
    assert (backbone.parameters, backbone.licence, backbone.source) == (None, None, WeightSource.NONE)


def test_what_a_network_cannot_take_is_refused_with_what_it_can() -> None:
    with pytest.raises(
        PipelineError,
        match=r"mobilenetv3-large cannot take qat, only float16, int8, pruning.*can are .*lenet5",
    ):
        require("mobilenetv3-large", Compression.QAT)
    require("mobilenetv3-large-minimalistic", Compression.QAT)
    require("mobilenetv3-large", Compression.INT8)


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("resnet50", "resnet50-torch"),
        ("resnet152", "resnet152-torch"),
        ("mobilenetv2-1.0", "mobilenetv2-1.0-torch"),
        ("vgg16", "vgg16-torch"),
        ("googlenet", "googlenet-bn"),
        ("googlenet-bn", "googlenet-bn"),
        ("resnet18", "resnet18"),
        ("alexnet", "alexnet"),
        ("efficientnet-lite3", "efficientnet-lite3"),
    ],
)
@pytest.mark.parametrize("file", ["w.pth", "w.pt", "w.safetensors", "W.PTH"])
def test_a_pytorch_file_asks_for_the_form_that_it_fits(tmp_path: Path, name: str, twin: str, file: str) -> None:
    path = tmp_path / file
    path.touch()
    assert resolve(name, str(path)).name == twin


@pytest.mark.parametrize(("name", "weights"), [("resnet50", "imagenet"), ("resnet50", "none"), ("googlenet", "none")])
def test_without_a_pytorch_file_a_name_means_itself(name: str, weights: str) -> None:
    assert resolve(name, weights).name == name


def test_a_keras_file_asks_for_the_backbone_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.touch()
    assert resolve("resnet50", str(path)).name == "resnet50"


@pytest.mark.parametrize("name", ["mobilenetv1-0.25", "inceptionv3", "mobilenetv3-small", "lenet5"])
def test_a_pytorch_file_for_a_network_without_such_a_form(tmp_path: Path, name: str) -> None:
    path = tmp_path / "w.pth"
    path.touch()
    with pytest.raises(WeightsError, match=rf"w\.pth: {name} has no counterpart in PyTorch .*; give a Keras \.h5 file"):
        resolve(name, str(path))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lenet5", "there are no ImageNet weights for it"),
        ("googlenet", "there are no ImageNet weights for it"),
        ("resnet18", "its ImageNet weights come with no package, only as a file"),
        ("efficientnet-lite4", "its ImageNet weights come with no package, only as a file"),
        ("mobilenetv2-0.42", r"there are ImageNet weights for alpha 0\.35, 0\.5, 0\.75, 1\.0, 1\.3, 1\.4 only"),
    ],
)
def test_imagenet_weights_that_do_not_exist(name: str, why: str) -> None:
    with pytest.raises(
        WeightsError, match=rf"{name}: {why}; give --weights none to train from scratch, or --weights FILE"
    ):
        resolve(name, "imagenet")


@pytest.mark.parametrize("weights", ["gone.h5", "gone.pth", "imagenett"])
def test_a_missing_file(weights: str) -> None:
    with pytest.raises(WeightsError, match=rf"{weights}: no such weights file; give a Keras \.h5 file, a PyTorch"):
        resolve("resnet50", weights)


def test_no_weights_leave_the_random_ones() -> None:
    backbone = find_backbone("lenet5")
    model = backbone.build((32, 32, 3))
    before = model.get_weights()
    backbone.load_weights(model, "none")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_state_dict_by_its_path_is_the_installed_one() -> None:
    backbone = find_backbone("efficientnet-lite0")
    installed, given = backbone.build((32, 32, 3)), backbone.build((32, 32, 3))
    backbone.load_weights(installed, "imagenet")
    backbone.load_weights(given, str(wheel_file(0)))
    for one, other in zip(installed.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_dict_of_another_network_leaves_the_network_as_it_was() -> None:
    backbone = find_backbone("efficientnet-lite0")
    model = backbone.build((32, 32, 3))
    before = model.get_weights()
    # the first layers are the same
    with pytest.raises(WeightsError, match=r"\.pth: block\w+ has weights of shape .*, expected "):
        backbone.load_weights(model, str(wheel_file(1)))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "efficientnet-lite0"])
def test_a_state_dict_with_nothing_that_fits(tmp_path: Path, name: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"features.0.weight": np.zeros((3, 3), np.float32)}, path)
    backbone = resolve(name, str(path))
    with pytest.raises(WeightsError, match=r"other\.safetensors: .*expected"):
        backbone.load_weights(backbone.build((64, 64, 3)), str(path))


def test_a_truncated_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    path.write_bytes(wheel_file(0).read_bytes()[:1_000_000])
    backbone = resolve("efficientnet-lite0", str(path))
    with pytest.raises(WeightsError, match=r"half\.pth: not a PyTorch state dict that can be read"):
        backbone.load_weights(backbone.build((32, 32, 3)), str(path))


def test_the_table_fits_a_terminal_and_has_every_backbone() -> None:
    lines = backbone_table().splitlines()
    assert max(map(len, lines)) <= 120
    starts = [line.split(" ")[0] for line in lines]
    assert [name for name in starts if name in BACKBONE_NAMES][: len(BACKBONE_NAMES)] == list(BACKBONE_NAMES)


def test_the_rows_are_json_with_units_in_whole_numbers() -> None:
    rows = {row["name"]: row for row in json.loads(json.dumps(backbone_rows()))}
    assert list(rows) == list(BACKBONE_NAMES)
    row = rows["efficientnet-lite0"]
    assert (row["size"], row["parameters"], row["weights"], row["licence"]) == (
        224,
        3_371_008,
        "installed",
        "Apache-2.0",
    )
    assert rows["lenet5"]["licence"] is None
    assert rows["mobilenetv3-small"]["compression"] == ["float16", "int8", "pruning", "clustering"]


def test_the_table_costs_no_tensorflow() -> None:
    code = "import sys; from pipeline import backbones as b; b.backbone_table(); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
