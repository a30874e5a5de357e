"""The road of a user, on real photos and through the command line: train, export, evaluate, run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long

CHATTER = ("oneDNN", "WARNING", "I0000", "absl", "XNNPACK", "cuda", "Traceback", "TensorFlow", "tf2onnx", "[h264")
VARIANTS = ["tflite-static-int8", "tflite-float32", "onnx-static-int8", "onnx-float32"]
FRAMES = 20
STAGES = {"fast": ["features", "head"], "balanced": ["features", "head", "views", "top", "deep"]}


@dataclass(frozen=True)
class Case:
    """What is trained, and the test accuracy below which something is broken (chance is 0.2 and 0.1)."""

    photos: str
    backbone: str
    weights: str
    budget: str
    least_accuracy: float


CASES = (
    Case("flowers5", "mobilenetv2-0.35", "mobilenet_v2_0.35_224_no_top.h5", "balanced", 0.65),
    Case("sign_digits", "mobilenetv2-1.0", "mobilenet_v2_1.0_224_no_top.h5", "fast", 0.6),
    Case("flowers5", "efficientnet-lite0", "imagenet", "fast", 0.75),
)


@dataclass(frozen=True)
class Road:
    """Where everything is, and what the commands printed."""

    case: Case
    photos: Path
    run: Path
    bundle: Path
    trained: dict[str, Any]
    exported: dict[str, Any]


def _edgegraft(*arguments: object) -> str:
    command = [sys.executable, "-m", "device.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [word for word in CHATTER if word in done.stderr], done.stderr
    return done.stdout


def _json(*arguments: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(_edgegraft(*arguments, "--json"))
    return result


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case.photos}-{case.backbone}")
def road(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Road:
    case: Case = request.param
    folder = tmp_path_factory.mktemp("road")
    photos, run, bundle = shared_data / "sets" / case.photos, folder / "run", folder / "model.egb"
    weights = case.weights if case.weights == "imagenet" else shared_data / "weights" / case.weights
    options = ("--backbone", case.backbone, "--weights", weights, "--size", 96, "--seed", 1, "--budget", case.budget)
    trained = _json("train", photos, "--out", run, *options)
    # At 96 pixels and with some ninety validation photos int8 may well cost more than a point.
    exported = _json("export", run, "--out", bundle, "--max-drop", 8, "--max-class-drop", 100)
    return Road(case, photos, run, bundle, trained, exported)


def test_train_prints_what_was_promised(road: Road) -> None:
    trained, classes = road.trained, sorted(path.name for path in road.photos.iterdir() if path.is_dir())
    assert trained["run"] == str(road.run)
    assert trained["backbone"] == road.case.backbone
    assert trained["classes"] == classes
    files = sum(1 for path in road.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    assert sum(trained["photos"].values()) + len(trained["left_out"]) == files
    assert trained["photos"]["train"] / files == pytest.approx(0.7, abs=0.06)
    assert trained["budget"] == road.case.budget
    assert [stage["name"] for stage in trained["stages"]] == STAGES[road.case.budget]
    assert all(set(stage) >= {"name", "seconds", "photos_per_second"} for stage in trained["stages"])
    assert trained["peak_rss_mb"] > 0
    assert trained["seconds"] >= sum(stage["seconds"] for stage in trained["stages"])


def test_the_model_is_far_better_than_chance(road: Road) -> None:
    test = road.trained["test"]
    assert test["n"] == road.trained["photos"]["test"]
    assert test["low"] < test["accuracy"] < test["high"]
    assert test["accuracy"] >= road.case.least_accuracy
    assert road.trained["validation"]["accuracy"] >= road.case.least_accuracy


def test_export_prints_what_was_promised(road: Road) -> None:
    exported = road.exported
    assert exported["bundle"] == str(road.bundle)
    assert exported["seconds"] > 0
    # The float model on the same validation photos as in training.
    assert exported["float"]["accuracy"] == pytest.approx(road.trained["validation"]["accuracy"])
    assert [variant["name"] for variant in exported["variants"]] == VARIANTS
    for variant in exported["variants"]:
        assert variant["engine"] == ("litert" if variant["name"].startswith("tflite") else "onnx")
        assert variant["recipe"] in ("float32", "static_int8")
        assert variant["size_bytes"] > 100_000
        drop = 100 * (exported["float"]["accuracy"] - variant["accuracy"])
        assert variant["drop_points"] == pytest.approx(drop)
        assert variant["included"] is (variant["drop_points"] <= 8)
        assert bool(variant["reason"]) is not variant["included"]
        assert 0.8 <= variant["agreement"] <= 1.0
    floats = [variant for variant in exported["variants"] if variant["recipe"] == "float32"]
    assert [variant["drop_points"] for variant in floats] == [0.0, 0.0]


def test_evaluate_finds_the_test_photos_of_the_training_again(road: Road) -> None:
    of_run = _json("evaluate", road.run, road.photos, "--split", "test")
    of_bundle = _json("evaluate", road.bundle, road.photos, "--split", "test")
    test = road.trained["test"]
    assert (of_run["split"], of_bundle["split"]) == ("test", "test")
    assert of_run["source"] == str(road.run)
    assert of_run["n"] == of_bundle["n"] == test["n"]
    [float_result] = of_run["results"]
    assert float_result["variant"] == "float"
    assert float_result["accuracy"] == pytest.approx(test["accuracy"])
    by_name = {result["variant"]: result for result in of_bundle["results"]}
    assert list(by_name) == [variant["name"] for variant in road.exported["variants"] if variant["included"]]
    for result in (float_result, *of_bundle["results"]):
        assert result["low"] <= result["accuracy"] <= result["high"]
        assert 0.0 <= result["expected_calibration_error"] <= 0.3
        assert set(result["per_class"]) == set(road.trained["classes"])
    for name in ("tflite-float32", "onnx-float32"):
        assert by_name[name]["accuracy"] == pytest.approx(test["accuracy"])


def test_run_classifies_a_video(road: Road, shared_data: Path) -> None:
    video = shared_data / "video" / "bottle-detection.mp4"
    printed = _edgegraft("run", road.bundle, "--camera", video, "--sink", "jsonl:-", "--frames", FRAMES)
    records = [json.loads(line) for line in printed.splitlines()]
    assert len(records) == FRAMES
    for record in records:
        assert record["camera"] == str(video)
        assert record["age_ms"] >= 0
        assert len(record["top"]) == 5
        assert record["top"][0][1] == record["probability"]
        assert record["answer"] == (None if record["unknown"] else record["top"][0][0])
        assert {label for label, _ in record["top"]} <= set(road.trained["classes"])
        assert set(record["stages_ms"]) == {"decode", "preprocess", "infer", "decide"}
        assert {"schema", "captured_at", "event", "dropped"} <= set(record)
    frames = [record["frame"] for record in records]
    assert frames == sorted(set(frames))
