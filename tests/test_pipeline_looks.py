"""How often a test split was looked at: every look counts, and nothing else does."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import RunError
from pipeline.looks import TEST_LOOKS, count_looks, is_look, looks_text, record_look


def test_looks_are_counted_in_order(tmp_path: Path) -> None:
    assert count_looks(tmp_path) == 0
    assert [record_look(tmp_path, by, 0.9) for by in ("train", "evaluate", "evaluate")] == [1, 2, 3]
    assert count_looks(tmp_path) == 3
    with (tmp_path / TEST_LOOKS).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["by"] for row in rows] == ["train", "evaluate", "evaluate"]
    assert [float(row["accuracy"]) for row in rows] == [0.9, 0.9, 0.9]
    assert rows[0]["looked_at"].endswith("+00:00")


def test_looks_at_the_same_time_all_count(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda index: record_look(tmp_path, f"reader {index}", 0.5), range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_a_line_that_was_cut_off_spoils_neither_itself_nor_the_next(tmp_path: Path) -> None:
    record_look(tmp_path, "train", 0.9)
    with (tmp_path / TEST_LOOKS).open("a") as stream:
        stream.write("2026-11-23T12:00")
    assert count_looks(tmp_path) == 1
    assert record_look(tmp_path, "evaluate", 0.9) == 2


def test_whatever_a_name_holds_it_is_one_look(tmp_path: Path) -> None:
    assert record_look(tmp_path, 'a "b",\nc', 0.25) == 1
    assert record_look(tmp_path, "\udcff", 0.25) == 2


def test_a_look_that_cannot_be_written_down_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / TEST_LOOKS).mkdir()
    with pytest.raises(RunError, match=r"test_looks\.csv: the look .* validation split"):
        record_look(tmp_path, "evaluate", 0.9)


def test_only_photos_of_the_test_split_make_a_look(tmp_path: Path) -> None:
    rows = "split,class,file,sha256\ntrain,a,1.jpg,aa\nvalidation,a,2.jpg,bb\ntest,a,3.jpg,cc\n"
    (tmp_path / "splits.csv").write_text(rows)
    assert is_look(tmp_path, ["aa", "cc"])
    assert not is_look(tmp_path, ["aa", "bb", "of another folder"])


def test_without_the_splits_nobody_can_tell(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"splits\.csv: missing or damaged"):
        is_look(tmp_path, ["aa"])


@pytest.mark.parametrize(("looks", "says"), [(1, "at once"), (2, "2 times; choose on validation")])
def test_for_people(looks: int, says: str) -> None:
    assert says in looks_text(looks)
