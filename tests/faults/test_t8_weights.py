"""T8: weights of another architecture, damaged, or not to be had: one clear line, with the way out."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.backbones import find_backbone
from pipeline.errors import WeightsError

MakeFolder = Callable[..., Path]

# Nobody listens on port 9: every connection is refused at once.
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}


@pytest.fixture
def weights(shared_data: Path) -> Path:
    return shared_data / "weights" / "mobilenet_v2_0.35_224_no_top.h5"


def _load(path: Path, backbone: str = "mobilenetv2-0.35") -> None:
    found = find_backbone(backbone)
    found.load_weights(found.build((32, 32, 3)), str(path))


@pytest.mark.parametrize("backbone", ["mobilenetv2-1.0", "mobilenetv1-0.25", "resnet50", "efficientnet-lite0"])
def test_weights_of_another_architecture(weights: Path, backbone: str) -> None:
    with pytest.raises(
        WeightsError, match=rf"weights of another architecture than {backbone} without top; .*--backbone"
    ):
        _load(weights, backbone)


def test_weights_with_another_head(shared_data: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet8_cifar10\.h5: weights of another architecture"):
        _load(shared_data / "weights" / "resnet8_cifar10.h5")


def test_what_fails_to_load_leaves_the_network_as_it_was(weights: Path) -> None:
    backbone = find_backbone("mobilenetv2-0.5")
    model = backbone.build((32, 32, 3))
    before = model.get_weights()
    with pytest.raises(WeightsError):
        backbone.load_weights(model, str(weights))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.7, 0.99])
def test_truncated_weights(weights: Path, tmp_path: Path, share: float) -> None:
    data = weights.read_bytes()
    path = tmp_path / "half.h5"
    path.write_bytes(data[: max(8, int(share * len(data)))])
    with pytest.raises(WeightsError, match=r"half\.h5: the file is cut short or damaged; copy it again"):
        _load(path)


def test_weights_with_a_damaged_structure_never_crash(weights: Path, tmp_path: Path) -> None:
    data, chance, path = weights.read_bytes(), random.Random(1), tmp_path / "damaged.h5"
    for _ in range(5):
        damaged = bytearray(data)
        start = chance.randrange(8, 40_000)
        damaged[start : start + 64] = chance.randbytes(64)
        path.write_bytes(damaged)
        try:
            _load(path)
        except WeightsError as err:
            assert str(path) in str(err)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + b"\0" * 100, b"<html>404</html>"])
def test_what_is_no_hdf5_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"model\.h5: not a Keras \.h5 weights file; .*save_weights"):
        _load(path)


def _train(root: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Where nothing has been downloaded before, and nothing can be."""
    environment = os.environ | NO_NETWORK | {"HOME": str(tmp_path), "KERAS_HOME": str(tmp_path / "keras")}
    command = [sys.executable, "-m", "device.cli", "train", str(root), "--out", str(tmp_path / "run"), *options]
    return subprocess.run([*command, "--json", "--size", "32"], env=environment, capture_output=True, text=True)


def _assert_one_clear_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("photos ", "Downloading "))]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("edgegraft train: ")
    for part in parts:
        assert part in lines[0]


def test_without_a_network_the_command_names_the_ways_out(make_folder: MakeFolder, tmp_path: Path) -> None:
    done = _train(make_folder({"rose": 4, "tulip": 4}), tmp_path, "--backbone", "mobilenetv2-1.0")
    _assert_one_clear_line(
        done, "mobilenetv2-1.0: its weights could not be downloaded", "--weights FILE", "--backbone efficientnet-lite0"
    )


def test_a_missing_file(make_folder: MakeFolder, tmp_path: Path) -> None:
    done = _train(make_folder({"rose": 4, "tulip": 4}), tmp_path, "--weights", "gone.h5")
    _assert_one_clear_line(done, "gone.h5: no such weights file; give a Keras .h5 file")


def test_weights_of_another_architecture_at_the_command_line(
    make_folder: MakeFolder, tmp_path: Path, weights: Path
) -> None:
    done = _train(
        make_folder({"rose": 4, "tulip": 4}), tmp_path, "--backbone", "mobilenetv1-0.25", "--weights", str(weights)
    )
    _assert_one_clear_line(done, f"{weights}: weights of another architecture than mobilenetv1-0.25", "--backbone")
    assert not (tmp_path / "run" / "run.json").exists()
