"""Which photo is in which split, from made-up hashes and from real folders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from device.contract import PreprocessSpec, SplitRule
from pipeline.cache import PixelCache
from pipeline.dataset import Dataset, Photo, Split, list_folder
from pipeline.errors import DatasetError
from pipeline.ingest import ingest
from pipeline.split import assign, check_splits, make_rule

MakeFolder = Callable[..., Path]


def _dataset(counts: dict[str, int], folder_splits: tuple[Split | None, ...] = (None,)) -> Dataset:
    """Photos with the hashes of their names; ``folder_splits`` are dealt out in turn."""
    photos = []
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            path = Path("photos") / name / f"{number}.jpg"
            sha256 = hashlib.sha256(str(path).encode()).hexdigest()
            photos.append(Photo(path, label, sha256, len(photos), folder_splits[number % len(folder_splits)]))
    return Dataset(Path("photos"), tuple(counts), tuple(photos), folder_splits != (None,), {})


def _membership(dataset: Dataset, rule: SplitRule) -> dict[str, Split]:
    return {photo.sha256: split for split, photos in assign(dataset, rule).items() for photo in photos}


def test_every_photo_is_in_exactly_one_of_three_splits() -> None:
    dataset = _dataset({"a": 50, "b": 80})
    splits = assign(dataset, make_rule(dataset, seed=0))
    assert set(splits) == {Split.TRAIN, Split.VALIDATION, Split.TEST}
    assert sorted(photo.row for photos in splits.values() for photo in photos) == list(range(130))


def test_the_same_seed_gives_the_same_splits_and_another_seed_others() -> None:
    dataset = _dataset({"a": 50, "b": 50})
    first = _membership(dataset, make_rule(dataset, seed=3))
    assert _membership(dataset, make_rule(dataset, seed=3)) == first
    assert _membership(dataset, make_rule(dataset, seed=4)) != first


def test_splits_hang_on_content_and_not_on_names_or_order(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"a": 12, "b": 12})
    before = _real_membership(root, tmp_path)
    for path in sorted(root.rglob("*.png")):
        path.rename(path.with_name(f"renamed {9999 - int(path.stem)}.png"))
    assert _real_membership(root, tmp_path) == before


def _real_membership(root: Path, tmp_path: Path) -> dict[str, Split]:
    spec = PreprocessSpec(height=16, width=16)
    dataset = ingest(list_folder(root), PixelCache(tmp_path / "cache", spec), spec)
    return _membership(dataset, make_rule(dataset, seed=0))


def test_adding_photos_moves_no_old_one() -> None:
    few, many = _dataset({"a": 100, "b": 100}), _dataset({"a": 300, "b": 140, "c": 60})
    before, after = _membership(few, make_rule(few, seed=0)), _membership(many, make_rule(many, seed=0))
    assert {sha256: after[sha256] for sha256 in before} == before


def test_under_the_rule_of_a_run_new_photos_move_no_old_one_even_in_small_classes() -> None:
    few = _dataset({"a": 4, "b": 5})
    rule = make_rule(few, seed=0)
    assert rule.resalted, "this test is about classes that drew again"
    before, after = _membership(few, rule), _membership(_dataset({"a": 40, "b": 50}), rule)
    assert {sha256: after[sha256] for sha256 in before} == before


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_three_photos_has_one_in_each_split(seed: int) -> None:
    dataset = _dataset({"a": 3, "b": 3, "many": 40})
    splits = assign(dataset, make_rule(dataset, seed))
    check_splits(splits, dataset.classes)
    for split in Split:
        assert sorted(photo.label for photo in splits[split] if photo.label < 2) == [0, 1], split


def test_fractions_of_many_photos_are_near_70_15_15() -> None:
    dataset = _dataset({"a": 2000, "b": 2000})
    splits = assign(dataset, make_rule(dataset, seed=0))
    for split, share in ((Split.TRAIN, 0.70), (Split.VALIDATION, 0.15), (Split.TEST, 0.15)):
        for label in (0, 1):
            found = sum(photo.label == label for photo in splits[split]) / 2000
            assert found == pytest.approx(share, abs=0.03)


def test_no_class_gets_less_than_half_its_share_in_any_split() -> None:
    dataset = _dataset({f"class {number}": 20 for number in range(30)})
    splits = assign(dataset, make_rule(dataset, seed=0))
    for label in range(30):
        assert sum(photo.label == label for photo in splits[Split.TEST]) >= 2
        assert sum(photo.label == label for photo in splits[Split.VALIDATION]) >= 2
        assert sum(photo.label == label for photo in splits[Split.TRAIN]) >= 7


def test_ready_made_splits_are_kept() -> None:
    dataset = _dataset({"a": 30, "b": 30}, (Split.TRAIN, Split.VALIDATION, Split.TEST))
    splits = assign(dataset, make_rule(dataset, seed=0))
    for split, photos in splits.items():
        assert [photo.folder_split for photo in photos] == [split] * 20


def test_without_a_validation_folder_validation_comes_from_train_and_test_stays_whole() -> None:
    dataset = _dataset({"a": 400, "b": 400}, (Split.TRAIN, Split.TEST))
    splits = assign(dataset, make_rule(dataset, seed=0))
    assert {photo.folder_split for photo in splits[Split.VALIDATION]} == {Split.TRAIN}
    assert len(splits[Split.TEST]) == 400
    assert len(splits[Split.VALIDATION]) / 400 == pytest.approx(0.15, abs=0.05)


@pytest.mark.parametrize("ready_made", [False, True])
def test_a_rule_for_the_other_layout_is_refused(ready_made: bool) -> None:
    plain, sorted_by_hand = _dataset({"a": 6, "b": 6}), _dataset({"a": 6, "b": 6}, tuple(Split))
    rule = make_rule(plain if ready_made else sorted_by_hand, seed=0)
    with pytest.raises(DatasetError, match=r"photos has (no )?train/ and test/ folders, .*--split all") as caught:
        assign(sorted_by_hand if ready_made else plain, rule)
    assert ("has no" in str(caught.value)) is not ready_made


def test_the_rule_gives_the_same_splits_after_a_trip_through_json() -> None:
    dataset = _dataset({"müsli": 3, "b": 50})
    rule = make_rule(dataset, seed=7)
    assert "müsli" in rule.resalted, "this test is about a class that drew again"
    again = msgspec.json.decode(msgspec.json.encode(rule), type=SplitRule)
    assert again == rule
    assert _membership(dataset, again) == _membership(dataset, rule)


def test_a_split_that_lacks_a_class_is_refused() -> None:
    dataset = _dataset({"a": 6, "b": 6})
    splits = assign(dataset, make_rule(dataset, seed=0))
    splits[Split.TEST] = tuple(photo for photo in splits[Split.TEST] if photo.label == 0)
    with pytest.raises(DatasetError, match=r"the test split has no photo of b; add some"):
        check_splits(splits, dataset.classes)
