"""The converted backbone in the cache: used again without TensorFlow, made anew when damaged, one per weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.backbones import find_backbone
from pipeline.errors import PipelineError, WeightsError
from pipeline.extract import Extractor
from pipeline.frozen_backbone import FEATURES, MAPS, FrozenBackbone, frozen_backbone

PHOTOS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


def _features(frozen: FrozenBackbone, output: int = FEATURES) -> np.ndarray:
    return np.stack(list(Extractor(frozen.model, 1)(PHOTOS, output)))


@pytest.fixture(scope="module")
def filled(lenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("filled")
    frozen_backbone(find_backbone("lenet5"), str(lenet_weights), 32, cache)
    return cache


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> Path:
    """Holds LeNet-5; may be damaged."""
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def _entry(cache: Path) -> Path:
    [folder] = (cache / "backbones").iterdir()
    return folder


def test_weights_and_features_are_those_of_the_keras_model(cache: Path, lenet_weights: Path) -> None:
    model = find_backbone("lenet5").build((32, 32, 3))
    model.load_weights(lenet_weights)
    normalisation = find_backbone("lenet5").normalisation
    frozen = frozen_backbone(find_backbone("lenet5"), str(lenet_weights), 32, cache)
    for found, expected in zip(frozen.weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    inputs = (PHOTOS - np.float32(normalisation.mean)) / np.float32(normalisation.scale)
    np.testing.assert_allclose(_features(frozen), model(inputs).numpy(), atol=1e-4)
    assert not frozen.has_maps


def test_a_network_that_ends_in_maps_gives_them_and_their_mean(mobilenet_weights: Path, tmp_path: Path) -> None:
    frozen = frozen_backbone(find_backbone("mobilenetv2-0.35"), str(mobilenet_weights), 32, tmp_path)
    assert frozen.has_maps
    maps = _features(frozen, MAPS)
    assert maps.shape == (4, 1, 1, 1280)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), _features(frozen), atol=1e-4)


_AGAIN = """
import json, sys
from pathlib import Path
from pipeline.backbones import find_backbone
from pipeline.frozen_backbone import frozen_backbone
frozen = frozen_backbone(find_backbone("lenet5"), sys.argv[2], 32, Path(sys.argv[1]))
print(json.dumps({"tensorflow": "tensorflow" in sys.modules, "bytes": len(frozen.model)}))
"""


def test_the_second_call_needs_no_tensorflow(cache: Path, lenet_weights: Path) -> None:
    command = [sys.executable, "-c", _AGAIN, str(cache), str(lenet_weights)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"tensorflow": False, "bytes": (_entry(cache) / "model.tflite").stat().st_size}


@pytest.mark.parametrize("name", ["model.tflite", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "empty"])
def test_a_damaged_file_is_made_anew(cache: Path, lenet_weights: Path, name: str, damage: str) -> None:
    path = _entry(cache) / name
    good = path.read_bytes()
    middle = len(good) // 2
    bad = {
        "flipped": good[:middle] + bytes([good[middle] ^ 8]) + good[middle + 1 :],
        "truncated": good[:middle],
        "empty": b"",
    }
    path.unlink() if damage == "missing" else path.write_bytes(bad[damage])
    frozen = frozen_backbone(find_backbone("lenet5"), str(lenet_weights), 32, cache)
    reference = find_backbone("lenet5").build((32, 32, 3))
    reference.load_weights(lenet_weights)
    for found, expected in zip(frozen.weights, reference.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    again = frozen_backbone(find_backbone("lenet5"), str(lenet_weights), 32, cache)
    np.testing.assert_array_equal(_features(again), _features(frozen))
    assert sorted(entry.name for entry in _entry(cache).iterdir()) == ["model.tflite", "weights.safetensors"]


def test_weights_that_changed_under_the_same_name_are_others(lenet_weights: Path, cache: Path, tmp_path: Path) -> None:
    backbone, path = find_backbone("lenet5"), tmp_path / "mine.h5"
    shutil.copy(lenet_weights, path)
    before = _features(frozen_backbone(backbone, str(path), 32, cache))
    assert len(list((cache / "backbones").iterdir())) == 1, "the same content under another name is the same"
    model = backbone.build((32, 32, 3))
    model.set_weights([0.5 * array for array in model.get_weights()])
    model.save_weights(path)
    after = _features(frozen_backbone(backbone, str(path), 32, cache))
    assert np.abs(after - before).max() > 0.01
    assert len(list((cache / "backbones").iterdir())) == 2


def test_another_size_is_another_network(cache: Path, tmp_path: Path) -> None:
    backbone, path = find_backbone("lenet5"), tmp_path / "48.h5"
    backbone.build((48, 48, 3)).save_weights(path)
    frozen_backbone(backbone, str(path), 48, cache)
    assert len({entry.name for entry in (cache / "backbones").iterdir()}) == 2


def test_weights_of_another_network_leave_no_trace(mobilenet_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights of another architecture than lenet5"):
        frozen_backbone(find_backbone("lenet5"), str(mobilenet_weights), 32, tmp_path)
    assert not (tmp_path / "backbones").exists()


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(lenet_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PipelineError, match=r"name another folder with EDGEGRAFT_CACHE"):
        frozen_backbone(find_backbone("lenet5"), str(lenet_weights), 32, tmp_path / "file")
