"""From a run to compressed forms of it: what comes out, what is kept, what is refused, what is discarded."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipeline.compression.compress import compress
from pipeline.compression.config import parse
from pipeline.compression.kernels import compressible
from pipeline.compression.load import CompressedClassifier, load_compressed, plain_form
from pipeline.compression.photos import photos_of
from pipeline.compression.quantisation import kernels_of
from pipeline.compression.recipe import Recipe, TuneConfig
from pipeline.compression.record import Compressed, find_kept
from pipeline.config import Budget, TrainConfig
from pipeline.display import Silent
from pipeline.errors import PipelineError, RunError, TrainingError
from pipeline.run import COMPRESSED, Run, begin_training, open_run, prepare_folder
from pipeline.train import train
from pipeline.trained import load_trained

SHORT = TuneConfig(epochs=2, learning_rate=1e-3)
RECIPE = Recipe(ramp=SHORT, settle=SHORT, assign=SHORT, cluster=SHORT, qat=SHORT)
EVERYTHING = "pruned50_clustered9_qat"


@pytest.fixture(scope="module")
def run(shape_photos: Path, lenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("lenet") / "run"
    return train(TrainConfig(shape_photos, folder, "lenet5", str(lenet_weights), budget=Budget.FAST))


@pytest.fixture(scope="module")
def everything(run: Run) -> Compressed:
    return compress(run, parse(EVERYTHING), recipe=RECIPE)


def _classifier(run: Run, name: str) -> CompressedClassifier:
    return load_compressed(run, parse(name))


def _kernels(classifier: CompressedClassifier) -> dict[str, np.ndarray]:
    found = kernels_of(classifier.model)
    return {name: found[name].numpy() for name in ("conv2", "fc1", "fc2")}


def test_each_step_of_a_plan_is_kept(run: Run, everything: Compressed) -> None:
    assert everything.folder == run.folder / COMPRESSED / EVERYTHING
    kept = sorted(path.name for path in (run.folder / COMPRESSED).iterdir())
    assert kept == ["pruned50", "pruned50_clustered9", "pruned50_clustered9_qat"]
    assert everything.record.builds_on == "pruned50_clustered9"
    assert [step.name for step in everything.record.steps] == ["qat"]


def test_half_the_weights_are_zero_in_a_plain_model_of_the_same_architecture(run: Run, everything: Compressed) -> None:
    record, classifier = find_kept(run, parse("pruned50")).record, _classifier(run, "pruned50")  # type: ignore[union-attr]
    assert not classifier.quantised
    assert [w.shape for w in classifier.model.weights] == [w.shape for w in load_trained(run).model.weights]
    zeros = sum(int((kernel == 0).sum()) for kernel in _kernels(classifier).values())
    total = sum(kernel.size for kernel in _kernels(classifier).values())
    assert zeros / total == pytest.approx(0.5, abs=0.01)
    assert record.sparsity == pytest.approx(zeros / total)
    # Small kernels keep more.
    assert record.kernels["conv2"].sparsity < record.kernels["fc1"].sparsity


def test_every_later_step_preserves_what_the_earlier_ones_did(run: Run, everything: Compressed) -> None:
    pruned, clustered, quantised = (
        _kernels(_classifier(run, name)) for name in ("pruned50", "pruned50_clustered9", EVERYTHING)
    )
    for name, kernel in pruned.items():
        np.testing.assert_array_equal(clustered[name] == 0, kernel == 0)
        np.testing.assert_array_equal(quantised[name] == 0, kernel == 0)
        assert len(np.unique(clustered[name])) <= 9
        assert len(np.unique(quantised[name])) <= 9
    assert any((quantised[name] != clustered[name]).any() for name in pruned)


def test_what_is_loaded_is_what_was_measured(run: Run, everything: Compressed) -> None:
    validation = photos_of(run, None, Silent()).validation
    for name in ("pruned50", EVERYTHING):
        classifier, kept = _classifier(run, name), find_kept(run, parse(name))
        assert classifier.quantised == name.endswith("qat")
        accuracy = (classifier.predict(validation.pixels).argmax(axis=1) == validation.labels).mean()
        assert kept is not None
        assert kept.record.validation_accuracy == pytest.approx(accuracy, abs=1e-6)
        assert kept.record.float_accuracy == pytest.approx(run.record.validation_accuracy, abs=1e-6)
        assert kept.record.peak_rss_mb > 100


def test_a_quantised_form_has_a_plain_one_with_its_weights(run: Run, everything: Compressed) -> None:
    quantised = _classifier(run, EVERYTHING)
    plain = plain_form(run, quantised)
    for name, kernel in _kernels(quantised).items():
        np.testing.assert_array_equal(plain.model.get_layer(name).kernel, kernel)
    pixels = photos_of(run, None, Silent()).validation.pixels
    difference = np.abs(plain.predict(pixels) - quantised.predict(pixels))
    assert 0 < difference.mean() < 0.02
    pruned = _classifier(run, "pruned50")
    assert plain_form(run, pruned) is pruned


def test_quantisation_costs_little_even_untrained(run: Run) -> None:
    record = compress(run, parse("qat"), recipe=replace(RECIPE, qat=replace(SHORT, learning_rate=1e-5))).record
    assert record.validation_accuracy >= record.float_accuracy - 0.06
    assert record.kernels["fc1"].sparsity < 0.01


def test_two_of_any_four_weights_along_the_inputs_are_zero(run: Run) -> None:
    compress(run, parse("pruned2of4"), recipe=RECIPE)
    classifier = _classifier(run, "pruned2of4")
    for name in compressible(classifier.model):
        kernel = _kernels(classifier)[name]
        rows = np.moveaxis(kernel, -2, -1).reshape(-1, kernel.shape[-2])
        whole = rows[:, : rows.shape[1] // 4 * 4].reshape(len(rows), -1, 4)
        assert ((whole == 0).sum(axis=2) >= 2).all()


def test_a_second_call_trains_nothing_and_needs_no_photos(
    run: Run, everything: Compressed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEGRAFT_CACHE", str(tmp_path))
    moved = Run(run.folder, msgspec.structs.replace(run.record, data=str(tmp_path / "gone")))
    assert compress(moved, parse(EVERYTHING), recipe=RECIPE) == everything


@pytest.fixture
def copy(run: Run, everything: Compressed, tmp_path: Path) -> Run:
    shutil.copytree(run.folder, tmp_path / "run")
    return open_run(tmp_path / "run")


def test_a_new_training_into_the_folder_discards_it(copy: Run) -> None:
    prepare_folder(copy.folder, overwrite=True)
    begin_training(copy.folder)
    assert not (copy.folder / COMPRESSED).exists()


def test_the_form_of_another_training_does_not_count(copy: Run) -> None:
    newer = Run(copy.folder, msgspec.structs.replace(copy.record, created="2030-01-01T00:00:00+00:00"))
    assert find_kept(copy, parse("pruned50")) is not None
    assert find_kept(newer, parse("pruned50")) is None
    with pytest.raises(RunError, match=r"holds no pruned50; compress it first"):
        load_compressed(newer, parse("pruned50"))


def test_damaged_weights_are_refused(copy: Run) -> None:
    path = copy.folder / COMPRESSED / "pruned50" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"missing or damaged .* delete .*pruned50 and compress again"):
        load_compressed(copy, parse("pruned50"))


def test_a_training_that_fails_leaves_nothing(copy: Run) -> None:
    shutil.rmtree(copy.folder / COMPRESSED)
    wild = replace(RECIPE, qat=TuneConfig(epochs=1, learning_rate=1e38))
    with pytest.raises(TrainingError, match="NaN"):
        compress(copy, parse("qat"), recipe=wild)
    assert list((copy.folder / COMPRESSED).iterdir()) == []


def test_what_cannot_work_is_refused_before_photos_are_read(copy: Run, tmp_path: Path) -> None:
    record = msgspec.structs.replace(copy.record, data=str(tmp_path / "gone"))
    with pytest.raises(PipelineError, match="mobilenetv3-small cannot take qat"):
        compress(Run(tmp_path, msgspec.structs.replace(record, backbone="mobilenetv3-small")), parse("pruned50_qat"))
    head = msgspec.structs.replace(record.head, batch_norm=True)
    with pytest.raises(PipelineError, match=r"its head has batch norm .* without --head-batch-norm"):
        compress(Run(tmp_path, msgspec.structs.replace(record, head=head)), parse("qat"))
