"""``edgegraft train``: what it prints and writes, and the ways to look before training."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.backbones.registry import BACKBONE_NAMES
from pipeline.callbacks.history_file import read_history
from pipeline.config import HeadConfig, TrainConfig
from pipeline.run import Run, open_run
from pipeline.train import train

Edgegraft = Callable[..., subprocess.CompletedProcess[str]]
FROM_SCRATCH = ("--backbone", "lenet5", "--weights", "none")


def _clean(ran: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert ran.returncode == 0, ran.stderr
    assert not [word for word in ("Traceback", "WARNING", "oneDNN", "I0000", "absl") if word in ran.stderr], ran.stderr
    return ran


@pytest.fixture(scope="module")
def tuned(shape_photos: Path, mobilenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Fine-tuned with a hidden layer, batch norm and dropout in the head, at a learning rate that was given."""
    config = TrainConfig(
        shape_photos,
        tmp_path_factory.mktemp("tuned") / "run",
        "mobilenetv2-0.35",
        str(mobilenet_weights),
        96,
        head=HeadConfig(hidden=16, batch_norm=True, dropout=0.2, label_smoothing=0.05),
        learning_rate=2e-4,
        epochs=2,
        seed=3,
    )
    return train(config)


def test_the_json_object_has_what_was_promised(edgegraft: Edgegraft, shape_photos: Path) -> None:
    ran = _clean(edgegraft("train", shape_photos, "--out", "run", *FROM_SCRATCH, "--epochs", "2", "--json"))
    result = json.loads(ran.stdout)
    assert set(result) == {
        "run", "backbone", "budget", "classes", "photos", "left_out", "seconds", "peak_rss_mb", "stages", "validation",
        "test",
    }  # fmt: skip
    assert (result["run"], result["backbone"], result["budget"]) == ("run", "lenet5", "balanced")
    assert result["classes"] == ["cross", "disc", "stripes"]
    assert sum(result["photos"].values()) == 120
    assert 200 < result["peak_rss_mb"] < 8000
    [stage] = result["stages"]
    assert (stage["name"], stage["epochs"], stage["kept"]) == ("scratch", 2, True)
    assert result["seconds"] >= stage["seconds"] > 0
    assert stage["photos_per_second"] > 0
    assert 0 <= result["validation"]["accuracy"] <= 1
    test = result["test"]
    assert set(test) == {"accuracy", "low", "high", "n", "macro_f1", "expected_calibration_error"}
    assert test["n"] == result["photos"]["test"]
    assert test["low"] <= test["accuracy"] <= test["high"]


def test_the_text_names_the_figure_the_report_and_the_next_step(edgegraft: Edgegraft, shape_photos: Path) -> None:
    ran = _clean(edgegraft("train", shape_photos, "--out", "run", *FROM_SCRATCH, "--epochs", "1"))
    assert "photos right (95 % interval" in ran.stdout
    assert "report:     run/report.html" in ran.stdout
    assert "next:       edgegraft export run --out run.egb" in ran.stdout
    assert "scratch     validation" in ran.stderr


def test_a_run_holds_what_it_should_and_nothing_else(tuned: Run) -> None:
    assert {path.name for path in tuned.folder.iterdir()} == {
        "run.json", "weights.safetensors", "splits.csv", "history.csv", "photos.npz", "report.html", "test_looks.csv",
        "log.txt",
    }  # fmt: skip
    assert open_run(tuned.folder).record == tuned.record
    stages = {stage.name: stage for stage in tuned.record.stages}
    assert list(stages) == ["features", "head", "views", "top", "deep"]
    assert stages["deep"].epochs == 2
    lines = read_history(tuned.folder / "history.csv")
    for name in ("head", "top", "deep"):
        assert [line.epoch for line in lines if line.stage == name] == list(range(1, stages[name].epochs + 1))


def test_settings_are_written_down(tuned: Run) -> None:
    record = tuned.record
    assert (record.head.hidden, record.head.batch_norm, record.head.dropout) == (16, True, 0.2)
    assert record.head.label_smoothing == 0.05
    assert (record.seed, record.preprocess.height, record.teacher) == (3, 96, None)
    assert record.hyperparameters["deep.learning_rate"] == 2e-4
    assert record.hyperparameters["deep.epochs"] == 2
    assert record.hyperparameters["augmentation.flip"] is True
    assert {stage.name: stage.learning_rate for stage in record.stages if stage.name in ("top", "deep")} == {
        "top": 2e-4,
        "deep": 2e-4,
    }


def test_the_classifier_is_rebuilt_with_its_head_and_answers_as_it_did(tuned: Run) -> None:
    from pipeline.trained import load_trained

    trained, photos = load_trained(tuned), tuned.photos()
    names = [layer.name for layer in trained.model.layers[-6:]]
    assert names == ["head_pool", "head_bn", "head_hidden", "head_dropout", "logits", "probabilities"]
    answers = trained.predict(photos.validation)
    assert (answers.argmax(axis=1) == photos.labels).mean() == pytest.approx(tuned.record.validation_accuracy)
    assert tuned.record.validation_accuracy > 0.5


def test_a_run_with_a_larger_head_is_exported_and_proved(tuned: Run, tmp_path: Path) -> None:
    from export.boards import Selection
    from export.build import ExportConfig, export_run
    from export.recipe import Form, Recipe

    result = export_run(ExportConfig(tuned.folder, tmp_path / "x.egb", Selection((Form(Recipe.FLOAT32),))))
    for outcome in result.outcomes:
        assert outcome.included, outcome.reason
        assert outcome.proof is not None and outcome.proof.measured.agreement == 1.0
    assert result.float_score.accuracy == pytest.approx(tuned.record.validation_accuracy)


def test_the_report_is_one_page_without_the_network(tuned: Run) -> None:
    page = (tuned.folder / "report.html").read_text()
    for name in (*tuned.record.classes, "deep", "mobilenetv2-0.35"):
        assert name in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_test_photos_are_looked_at_once_for_each_training(
    edgegraft: Edgegraft, shape_photos: Path, tmp_path: Path
) -> None:
    command = ("train", shape_photos, "--out", "run", *FROM_SCRATCH, "--epochs", "1", "--json")
    _clean(edgegraft(*command))
    refused = edgegraft(*command)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("edgegraft train: run: holds a finished run; ")
    _clean(edgegraft(*command, "--overwrite"))
    # A header and two looks.
    assert len((tmp_path / "run" / "test_looks.csv").read_text().splitlines()) == 3


def test_the_list_of_backbones_as_text_and_as_json(edgegraft: Edgegraft) -> None:
    text = _clean(edgegraft("train", "--list-backbones")).stdout
    listed = [line.split()[0] for line in text.splitlines() if line]
    assert set(BACKBONE_NAMES) <= set(listed)
    assert max(len(line) for line in text.splitlines()) <= 120
    rows = json.loads(_clean(edgegraft("train", "--list-backbones", "--json")).stdout)["backbones"]
    assert [row["name"] for row in rows] == list(BACKBONE_NAMES)
    [default] = [row for row in rows if row["name"] == "efficientnet-lite0"]
    assert (default["weights"], default["licence"], default["size"]) == ("installed", "Apache-2.0", 224)


def test_a_preview_shows_what_the_network_will_see(edgegraft: Edgegraft, shape_photos: Path, tmp_path: Path) -> None:
    options = ("--backbone", "lenet5", "--weights", "none", "--size", "48", "--augment", "strong")
    ran = _clean(edgegraft("train", shape_photos, "--preview", "seen.png", *options, "--json"))
    assert json.loads(ran.stdout) == {"preview": "seen.png"}
    sheet = cv2.imread(str(tmp_path / "seen.png"))
    assert sheet is not None and min(sheet.shape[:2]) > 200
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["seen.png"], "nothing is trained"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "name the folder of photos: edgegraft train PHOTOS --out RUN"),
        (("PHOTOS",), 2, "name the folder to write with --out RUN"),
        (("PHOTOS", "--out", "run", "--hidden", "-1"), 1, "--hidden -1: expected 0 to 65536 units"),
        (("PHOTOS", "--out", "run", *FROM_SCRATCH, "--size", "5"), 1, "--size 5: lenet5 takes 32 to 1024 pixels"),
        (("PHOTOS", "--out", "run", *FROM_SCRATCH, "--budget", "fast"), 1, "train from scratch with --budget balanced"),
        (("PHOTOS", "--out", "run", "--worker", "1"), 1, "--worker K and --workers HOST:PORT,... belong together"),
        (("PHOTOS", "--out", "run", "--learning-rate", "0"), 1, "--learning-rate 0.0: expected a number above 0"),
        (("PHOTOS", "--preview", "no/where.png"), 1, "no/where.png: there is no folder no; make it"),
    ],
)
def test_refused_in_one_clear_line(
    edgegraft: Edgegraft, shape_photos: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    given = [str(shape_photos) if argument == "PHOTOS" else argument for argument in arguments]
    ran = edgegraft("train", *given, "--json")
    assert (ran.returncode, ran.stdout) == (code, "")
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("edgegraft train: ") and message in last, ran.stderr
    assert not (tmp_path / "run").exists()
