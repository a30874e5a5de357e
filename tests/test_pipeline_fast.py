"""The quickest budget: no TensorFlow once the backbone is in the cache, and the same model as Keras makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trainings import shape_task

from pipeline.backbones import find_backbone
from pipeline.cache import cache_root
from pipeline.config import Budget, HeadConfig, TrainConfig
from pipeline.display import Silent
from pipeline.errors import WeightsError
from pipeline.fast import extract_features, fit_fast
from pipeline.fitted import Task
from pipeline.job import prepare_job
from pipeline.run import open_run
from pipeline.train import train

_FRESH = """
import sys
from device.cli import main
code = main(sys.argv[1:])
print(code, sorted({"tensorflow", "tf_keras", "optuna"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def task(mobilenet_weights: Path) -> Task:
    return shape_task("mobilenetv2-0.35", mobilenet_weights, 96)


def test_the_command_needs_no_tensorflow_once_the_backbone_is_in_the_cache(
    shape_photos: Path, mobilenet_weights: Path, tmp_path: Path
) -> None:
    config = TrainConfig(
        shape_photos, tmp_path / "first", "mobilenetv2-0.35", str(mobilenet_weights), 96, budget=Budget.FAST
    )
    first = train(config)
    arguments = ["train", shape_photos, "--out", tmp_path / "second", "--backbone", "mobilenetv2-0.35", "--json"]
    arguments += ["--weights", mobilenet_weights, "--size", "96", "--budget", "fast"]
    ran = subprocess.run([sys.executable, "-c", _FRESH, *map(str, arguments)], capture_output=True, text=True)
    assert ran.stderr.splitlines()[-1] == "0 []", ran.stderr
    result = json.loads(ran.stdout)
    assert (result["budget"], [stage["name"] for stage in result["stages"]]) == ("fast", ["features", "head"])
    second = open_run(tmp_path / "second").record
    assert (second.test, second.decision) == (first.record.test, first.record.decision)
    assert second.test.accuracy > 0.6
    assert {path.name for path in (tmp_path / "second").iterdir()} == {
        "run.json", "weights.safetensors", "splits.csv", "photos.npz", "report.html", "test_looks.csv", "log.txt"
    }  # fmt: skip


def test_the_runs_weights_in_keras_answer_as_the_fast_classifier(
    shape_photos: Path, mobilenet_weights: Path, tmp_path: Path
) -> None:
    from pipeline.trained import load_trained

    config = TrainConfig(
        shape_photos, tmp_path / "run", "mobilenetv2-0.35", str(mobilenet_weights), 96, budget=Budget.FAST
    )
    run = train(config)
    pixels = run.photos().validation
    job = prepare_job(replace(config, out=tmp_path / "other"), Silent())
    fast = fit_fast(job.task(), cache_root(), Silent()).classifier
    expected = fast.predict(pixels)
    assert np.ptp(expected[:, 0]) > 0.3, "all answers alike would prove nothing"
    np.testing.assert_allclose(load_trained(run).predict(pixels), expected, atol=1e-4)


def test_it_learns(task: Task) -> None:
    fitted = fit_fast(task, cache_root(), Silent())
    answers = fitted.classifier.predict(task.validation.pixels)
    assert answers.shape == (len(task.validation.labels), 3)
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-5)
    accuracy = float((answers.argmax(axis=1) == task.validation.labels).mean())
    assert accuracy > 0.6
    features, head = fitted.stages
    assert head.validation_accuracy == pytest.approx(accuracy)
    assert features.photos_per_second > 0
    assert fitted.history == ()


def test_photos_are_mirrored_unless_that_was_refused(task: Task) -> None:
    both = extract_features(task, cache_root(), Silent()).train
    alone = extract_features(replace(task, flip=False), cache_root(), Silent()).train
    assert (len(both), len(alone)) == (2, 1)
    np.testing.assert_array_equal(both[0], alone[0])
    mirrored = replace(task.train, pixels=task.train.pixels[:, :, ::-1])
    np.testing.assert_array_equal(
        extract_features(replace(task, train=mirrored, flip=False), cache_root(), Silent()).train[0], both[1]
    )


def test_heatmaps_lie_where_the_evidence_is(task: Task) -> None:
    classifier = fit_fast(task, cache_root(), Silent()).classifier
    pixels = task.validation.pixels[:4]
    maps = classifier.heatmaps(pixels, task.validation.labels[:4])
    assert maps is not None and maps.shape == (4, 96, 96)
    assert maps.min() >= 0 and maps.max() <= 1
    # Another class, other evidence.
    others = classifier.heatmaps(pixels, (task.validation.labels[:4] + 1) % 3)
    assert np.abs(maps - others).max() > 0.05


def test_a_network_without_maps_has_no_heatmaps(lenet_weights: Path) -> None:
    task = shape_task("lenet5", lenet_weights, 32)
    classifier = fit_fast(task, cache_root(), Silent()).classifier
    assert classifier.heatmaps(task.validation.pixels[:2], np.array([0, 1])) is None


def test_weights_of_another_network_are_refused(mobilenet_weights: Path, make_folder: Callable[..., Path]) -> None:
    root = make_folder({"a": 4, "b": 4})
    with pytest.raises(WeightsError, match=r"weights of another architecture than lenet5"):
        train(TrainConfig(root, root.parent / "run", "lenet5", str(mobilenet_weights), budget=Budget.FAST))
    assert not (root.parent / "run" / "run.json").exists()


def test_a_hidden_layer_is_trained_on_the_same_features(
    lenet_weights: Path, shape_photos: Path, tmp_path: Path
) -> None:
    head = HeadConfig(hidden=8)
    run = train(
        TrainConfig(shape_photos, tmp_path / "run", "lenet5", str(lenet_weights), budget=Budget.FAST, head=head)
    )
    assert [stage.name for stage in run.record.stages] == ["features", "head"]
    assert run.record.stages[1].epochs > 1
    assert find_backbone(run.record.backbone).name == "lenet5"
