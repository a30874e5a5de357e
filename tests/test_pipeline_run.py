"""The Run folder: what is refused, what is replaced, and that its record is read strictly."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device.contract import Decision, PreprocessSpec, SplitRule
from pipeline.errors import RunError
from pipeline.run import (
    RUN_SCHEMA,
    ExportPhotos,
    HeadRecord,
    PhotoCounts,
    RunRecord,
    StageRecord,
    begin_training,
    discard_backup,
    open_run,
    prepare_folder,
    save_csv,
    save_photos,
    save_record,
    write_atomically,
)
from pipeline.run import (
    TestScore as ScoreOnTest,
)

RECORD = RunRecord(
    schema=RUN_SCHEMA,
    edgegraft_version="0.1.0",
    created="2026-11-23T12:00:00+00:00",
    data="photos",
    backbone="mobilenetv2-0.35",
    weights="imagenet",
    head=HeadRecord(hidden=16, batch_norm=True, dropout=0.2, label_smoothing=0.1),
    budget="balanced",
    teacher=None,
    seed=3,
    classes=("daisy", "日本"),
    preprocess=PreprocessSpec(height=96, width=96),
    split=SplitRule(ready_made=False, seed=3, validation=0.15, test=0.15, resalted={"日本": 4}),
    photos=PhotoCounts(train=70, validation=15, test=15),
    photos_per_class={"daisy": 50, "日本": 50},
    left_out={"daisy/x.jpg": "0 bytes"},
    hyperparameters={"head.epochs": 40},
    stages=(
        StageRecord(name="features", seconds=1.5, photos_per_second=100.0),
        StageRecord(
            name="top",
            seconds=9.5,
            photos_per_second=40.0,
            epochs=9,
            validation_accuracy=0.9,
            learning_rate=3e-4,
            kept=False,
        ),
    ),
    seconds=12.5,
    peak_rss_mb=812.5,
    decision=Decision(temperature=1.2, unknown_threshold=0.4),
    validation_accuracy=0.9,
    test=ScoreOnTest(accuracy=0.8, low=0.6, high=0.9, n=15, macro_f1=0.75, expected_calibration_error=0.04),
)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    prepare_folder(folder, overwrite=False)
    save_record(folder, RECORD)
    return folder


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_record_is_read_as_it_was_written(finished: Path) -> None:
    run = open_run(finished)
    assert run.record == RECORD
    assert run.weights == finished / "weights.safetensors"
    assert list(finished.iterdir()) == [finished / "run.json"]


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone: no such run; 'edgegraft train PHOTOS --out .*gone' makes one"):
        open_run(tmp_path / "gone")


def test_a_run_that_did_not_finish(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "run", overwrite=False)
    with pytest.raises(RunError, match=r"run: holds no run\.json; the training did not finish"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda record: record.update(colour="red"), "colour"),
        (lambda record: record.pop("seed"), "seed"),
        (lambda record: record.update(seed="3"), r"\$\.seed"),
        (lambda record: record["test"].update(accuracy=1.5), r"\$\.test\.accuracy"),
        (lambda record: record["preprocess"].update(fit="squeeze"), r"\$\.preprocess\.fit"),
        (lambda record: record["stages"][0].update(speed=1), r"\$\.stages\[0\]"),
        (lambda record: record.pop("head"), "head"),
        (lambda record: record["head"].update(dropout=2), r"\$\.head\.dropout"),
    ],
)
def test_a_changed_record_is_refused_at_its_place(
    finished: Path, change: Callable[[dict[str, Any]], object], named: str
) -> None:
    _edit(finished, change)
    with pytest.raises(RunError, match=rf"run\.json: .*{named}.*; train again"):
        open_run(finished)


def test_a_record_of_another_schema_is_called_so(finished: Path) -> None:
    _edit(finished, lambda record: record.update(schema=1))
    with pytest.raises(RunError, match=r"schema 1, this edgegraft reads 2.*train again"):
        open_run(finished)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe\x00", b'{"schema": 2, "data": "\xff"}', b"[" * 10_000])
def test_a_record_that_is_no_json_is_refused(finished: Path, data: bytes) -> None:
    (finished / "run.json").write_bytes(data)
    with pytest.raises(RunError, match=r"run\.json: .*; train again"):
        open_run(finished)


def test_a_finished_run_is_kept_unless_overwriting_was_asked_for(finished: Path) -> None:
    with pytest.raises(RunError, match=r"holds a finished run; name another folder, or add --overwrite"):
        prepare_folder(finished, overwrite=False)
    assert open_run(finished).record == RECORD
    prepare_folder(finished, overwrite=True)
    assert open_run(finished).record == RECORD, "kept until the new photos are known to be usable"
    begin_training(finished)
    with pytest.raises(RunError, match=r"did not finish"):
        open_run(finished)


def test_what_belonged_to_the_replaced_run_goes_with_it_but_looks_at_the_test_split_stay_counted(
    finished: Path,
) -> None:
    gone = ("history.csv", "report.html", "export.html", "backup/deep.safetensors")
    for name in (*gone, "test_looks.csv"):
        (finished / name).parent.mkdir(exist_ok=True)
        (finished / name).write_bytes(b"of the run before")
    prepare_folder(finished, overwrite=True)
    begin_training(finished)
    assert [entry.name for entry in finished.iterdir()] == ["test_looks.csv"]


def test_an_interrupted_training_keeps_what_it_goes_on_from(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    kept = ("history.csv", "backup/deep.safetensors", "search/journal.log")
    for name in kept:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"so far")
    prepare_folder(folder, overwrite=False)
    begin_training(folder)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(kept)
    discard_backup(folder)
    discard_backup(folder)
    assert not (folder / "backup").exists()


def test_an_unfinished_run_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("weights.safetensors", "weights.safetensors.partial", "run.json.partial", "log.txt", "history.csv"):
        (folder / name).write_bytes(b"left by a kill")
    prepare_folder(folder, overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    for name in ("thesis.docx", "b", "c", "d"):
        (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(RunError, match=r"holds other files \(b, c, d\); name a new or empty folder"):
        prepare_folder(tmp_path, overwrite)
    assert (tmp_path / "thesis.docx").read_bytes() == b"mine"


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"mine")
    with pytest.raises(RunError, match=r"run: is a file; name a folder"):
        prepare_folder(tmp_path / "run", overwrite=True)


def test_missing_parents_are_made(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b" / "run", overwrite=False)
    assert (tmp_path / "a" / "b" / "run").is_dir()


def _photos() -> ExportPhotos:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (9, 8, 8, 3), np.uint8)
    return ExportPhotos(pixels[:5], pixels[5:], np.array([0, 1, 0, 1], np.int64), pixels[:2])


def test_photos_are_read_as_they_were_saved(finished: Path) -> None:
    save_photos(finished, _photos())
    found = open_run(finished).photos()
    for name in ("calibration", "validation", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(_photos(), name))


def test_missing_photos_are_said_so(finished: Path) -> None:
    with pytest.raises(RunError, match=r"photos\.npz: cannot be read \(.*\); train again"):
        open_run(finished).photos()


@pytest.mark.parametrize("kept", [0, 2, 4, 100, -1])
def test_truncated_photos_are_said_so(finished: Path, kept: int) -> None:
    save_photos(finished, _photos())
    path = finished / "photos.npz"
    os.truncate(path, kept if kept >= 0 else path.stat().st_size + kept)
    with pytest.raises(RunError, match=r"photos\.npz: cannot be read \(.*\); train again"):
        open_run(finished).photos()


def test_photos_with_a_flipped_byte_are_said_so(finished: Path) -> None:
    save_photos(finished, _photos())
    path = finished / "photos.npz"
    data = bytearray(path.read_bytes())
    data[400] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"photos\.npz: cannot be read \(.*\); train again"):
        open_run(finished).photos()


def test_tables_quote_any_file_name(tmp_path: Path) -> None:
    odd = 'a, "b"\nc\udcff'
    save_csv(tmp_path / "t.csv", ("file", "n"), [(odd, 1), ("日本", 2)])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        assert list(csv.reader(stream)) == [["file", "n"], [odd, "1"], ["日本", "2"]]


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
