"""Measuring a Bundle and a Run: unknown photos, damaged photos, and that looks at the test split are counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundles import CLASSES, plain_picture

from device.contract import Decision
from pipeline.calibrate import measure_unknown
from pipeline.commands.evaluate import evaluation_json, evaluation_text
from pipeline.dataset import Split
from pipeline.errors import DatasetError
from pipeline.evaluate import Evaluation, Robustness, VariantScores, evaluate
from pipeline.looks import count_looks, record_look
from pipeline.metrics import score
from pipeline.robustness import Damage

PER_CLASS = 12


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of the colour bundle's classes, and grey ones, which are of none."""
    root, random = tmp_path_factory.mktemp("colours") / "photos", np.random.default_rng(0)
    for name in (*CLASSES, "grey"):
        folder = root / ("_unknown" if name == "grey" else name)
        folder.mkdir(parents=True)
        for number in range(PER_CLASS):
            picture = plain_picture(name)
            noisy = np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number}.png"), noisy)
    return root


@pytest.fixture
def run_copy(run_folder: Path, tmp_path: Path) -> Path:
    """A Run that may be written to."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_every_variant_calls_grey_unknown_and_colours_not(colour_bundle: Path, colours: Path) -> None:
    evaluation = evaluate(colour_bundle, colours, None)
    assert (evaluation.n, evaluation.split, evaluation.test_looks) == (3 * PER_CLASS, "all", None)
    assert len(evaluation.results) == 4
    for result in evaluation.results:
        assert (result.scores.accuracy, result.scores.macro_f1) == (1.0, 1.0)
        assert result.unknown.threshold == 0.6
        assert result.unknown.wrong_removed is None
        assert result.unknown.right_lost is not None and result.unknown.right_lost.share == 0.0
        assert result.unknown.unknown_found is not None
        assert (result.unknown.unknown_found.share, result.unknown.unknown_found.n) == (1.0, PER_CLASS)
        assert result.robustness is None


def test_unknown_photos_are_halved_between_validation_and_test(colour_bundle: Path, colours: Path) -> None:
    counts = {}
    for split in Split:
        found = evaluate(colour_bundle, colours, split).results[0].unknown.unknown_found
        counts[split] = found.n if found else 0
    assert counts[Split.TRAIN] == 0
    assert counts[Split.VALIDATION] + counts[Split.TEST] == PER_CLASS
    assert min(counts[Split.VALIDATION], counts[Split.TEST]) > 0


def test_a_class_that_the_model_does_not_know_names_the_way_out(
    colour_bundle: Path, colours: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(colours, tmp_path / "photos"))
    (other / "_unknown").rename(other / "grey")
    with pytest.raises(DatasetError, match=r"does not know grey.*belong in _unknown"):
        evaluate(colour_bundle, other, None)


def test_robustness_is_in_the_table_and_in_the_json(
    colour_bundle: Path, colours: Path, edgegraft: Callable[..., object]
) -> None:
    evaluation = evaluate(colour_bundle, colours, None, robustness=Robustness.MEASURED)
    for result in evaluation.results:
        table = result.robustness
        assert table is not None
        assert (table.n, table.clean) == (3 * PER_CLASS, 1.0)
        accuracies = {row.damage: [cell.accuracy for cell in row.cells] for row in table.rows}
        # A plain colour is blurred and turned into itself.
        assert accuracies[Damage.BLUR] == accuracies[Damage.ROTATION] == [1.0] * 5
    assert "JPEG quality" in evaluation_text(evaluation)

    printed = edgegraft("evaluate", colour_bundle, colours, "--split", "all", "--robustness", "--json")
    results = json.loads(printed.stdout)["results"]  # type: ignore[attr-defined]
    assert [row["damage"] for row in results[0]["robustness"]["rows"]] == [damage.value for damage in Damage]
    assert results[0]["robustness"]["rows"][2]["unit"] == "stops less light"
    assert len(results[0]["robustness"]["rows"][0]["cells"]) == 5


def test_the_json_keeps_its_keys_and_has_the_new_ones(colour_bundle: Path, colours: Path) -> None:
    found = evaluation_json(evaluate(colour_bundle, colours, None))
    assert {"source", "split", "n", "results", "skipped", "test_looks"} <= set(found)
    result = found["results"][0]
    assert {"variant", "accuracy", "low", "high", "n", "expected_calibration_error", "per_class", "confusion"} <= set(
        result
    )
    assert {"macro_f1", "bootstrap", "reliability", "unknown"} <= set(result)
    assert "robustness" not in result
    assert set(result["per_class"]["red"]) == {"recall", "precision", "f1", "n"}


def test_every_look_at_the_test_split_of_a_run_is_counted(run_copy: Path, drawn_photos: Path) -> None:
    before = record_look(run_copy, "train", 0.9)
    looked = evaluate(run_copy, drawn_photos, Split.TEST)
    assert looked.test_looks == before + 1 == count_looks(run_copy)
    assert f"looked at {before + 1} times" in evaluation_text(looked)
    # Test photos are among all photos.
    assert evaluate(run_copy, drawn_photos, None).test_looks == before + 2
    assert evaluate(run_copy, drawn_photos, Split.VALIDATION).test_looks is None
    assert count_looks(run_copy) == before + 2
    last = (run_copy / "test_looks.csv").read_text().splitlines()[-1]
    assert ",evaluate," in last


def test_photos_of_another_folder_are_no_look(run_copy: Path, drawn_photos: Path, tmp_path: Path) -> None:
    from device.scene import draw_dataset

    other = tmp_path / "other"
    draw_dataset(other, 8, seed=77)
    before = count_looks(run_copy)
    assert evaluate(run_copy, other, None).test_looks is None
    assert count_looks(run_copy) == before


def test_many_classes_get_their_most_frequent_mistakes_in_place_of_a_matrix() -> None:
    names = tuple(f"class{number:02d}" for number in range(30))
    labels = np.repeat(np.arange(30), 4)
    answers = labels.copy()
    answers[:3], answers[4] = 7, 2
    probabilities = np.eye(30, dtype=np.float32)[answers]
    unknown = measure_unknown(probabilities, labels, Decision())
    scores = VariantScores("float", score(probabilities, labels, names), unknown)
    text = evaluation_text(Evaluation("run", "all", len(labels), (scores,), {}))
    assert max(map(len, text.splitlines())) < 100
    assert "the 2 most frequent of 2 mistakes" in text
    first, second = (line.split() for line in text.splitlines() if line.startswith("class"))
    assert (first, second) == (["class00", "class07", "3"], ["class01", "class02", "1"])
