"""Snapshots: which pictures are kept, in pairs, in a folder that stays within its size and touches nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from sink_inputs import NOON, entered, prediction, result

from device.collection import Collection
from device.errors import SinkError
from device.sinks import open_sink
from device.sinks.base import Want
from device.sinks.snapshots import SnapshotSink, open_snapshots

_SLOT = "20231114T2213"


def offer(sink: SnapshotSink, *predictions: object) -> None:
    """As the loop and the sink's thread do it."""
    for each in predictions:
        if sink.wants(each) is Want.FRAME:  # type: ignore[arg-type]
            sink.write(result(each))  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def reasons(folder: Path) -> list[str]:
    return [name.split("-")[1] for name in names(folder) if name.endswith(".jpg")]


def test_a_picture_and_what_was_said_about_it_lie_side_by_side(tmp_path: Path) -> None:
    sink = open_sink(f"snapshots:{tmp_path / 'a%20folder'}?sample=0")
    sink.write(result(entered(7, region="belt")))
    sink.close()
    picture, record = names(tmp_path / "a folder")
    assert picture.startswith("20231114T221320.000Z-event-") and record == picture.replace(".jpg", ".json")
    about = json.loads((tmp_path / "a folder" / record).read_text())
    assert (about["snapshot"], about["reason"], about["width"], about["height"]) == (1, "event", 160, 120)
    assert (about["prediction"]["region"], about["prediction"]["event"]) == ("belt", "entered")
    assert about["prediction"]["top"] == [["rose", 0.95], ["tulip", 0.05]]
    assert cv2.imread(str(tmp_path / "a folder" / picture)).shape == (120, 160, 3)


def test_events_doubt_and_nothing_else(tmp_path: Path) -> None:
    sink = open_snapshots(f"snapshots:{tmp_path}?uncertain=0.6&sample=0")
    unknown = prediction(3, NOON + 3, unknown=True, answer=None, probability=0.9)
    offer(sink, prediction(0), entered(1), prediction(2, probability=0.59), unknown)
    assert reasons(tmp_path) == ["event", "uncertain", "uncertain"]
    none = open_snapshots(f"snapshots:{tmp_path}?events=0&uncertain=0&sample=0")
    assert none.wants(entered(4)) is none.wants(unknown) is Want.NOTHING


def test_doubt_is_kept_once_a_second_of_each_camera_and_once_of_each_view(tmp_path: Path) -> None:
    sink = open_snapshots(f"snapshots:{tmp_path}?sample=0")
    doubts = [prediction(index, NOON + index / 10, probability=0.3) for index in range(20)]
    offer(sink, *doubts)
    assert len(reasons(tmp_path)) == 2
    assert sink.wants(prediction(20, NOON + 1.95, probability=0.3, camera="other")) is Want.FRAME
    # A clock set back by an hour must not end it.
    assert sink.wants(prediction(21, NOON - 3600, probability=0.3)) is Want.FRAME
    for second in range(10, 20):
        each = prediction(second, NOON + second, probability=0.3)
        if sink.wants(each) is Want.FRAME:
            sink.write(result(each, seed=99))
    assert len(reasons(tmp_path)) == 3


def test_chance_takes_its_share_and_a_seed_decides(tmp_path: Path) -> None:
    def drawn(seed: int) -> list[int]:
        sink = open_snapshots(f"snapshots:{tmp_path}?sample=0.05&seed={seed}")
        return [index for index in range(4000) if sink.wants(prediction(index)) is Want.FRAME]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 120 < len(drawn(1)) < 290
    offer(open_snapshots(f"snapshots:{tmp_path}?sample=0.05&seed=1"), prediction(drawn(1)[0]))
    assert reasons(tmp_path) == ["sample"]


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def event_pictures(count: int, start: int = 0) -> list[object]:
    return [entered(index, NOON + index) for index in range(start, start + count)]


def test_the_folder_stays_within_its_size_and_number_also_after_a_new_start(tmp_path: Path) -> None:
    sink = open_snapshots(f"snapshots:{tmp_path}?most=5&sample=0")
    offer(sink, *event_pictures(8))
    times = [name[:15] for name in names(tmp_path) if name.endswith(".jpg")]
    assert times == [f"{_SLOT}{second}" for second in range(23, 28)]
    assert len(names(tmp_path)) == 10
    again = open_snapshots(f"snapshots:{tmp_path}?most=3&sample=0")
    assert len(names(tmp_path)) == 6
    offer(again, *event_pictures(1, 8))
    assert [name[:15] for name in names(tmp_path)[::2]] == [f"{_SLOT}{second}" for second in (26, 27, 28)]


def test_bytes_are_bounded(tmp_path: Path) -> None:
    sink = open_snapshots(f"snapshots:{tmp_path}?most_mb=1&sample=0")
    noise = np.random.default_rng(1)
    for index in range(12):
        each = result(entered(index, NOON + index))
        assert each.frame is not None
        object.__setattr__(each.frame, "pixels", noise.integers(0, 256, (480, 640, 3), np.uint8))
        sink.write(each)
        assert total(tmp_path) <= 1_000_000
    assert names(tmp_path)[-1].startswith(f"{_SLOT}31")
    huge = result(entered(99, NOON + 99))
    assert huge.frame is not None
    object.__setattr__(huge.frame, "pixels", noise.integers(0, 256, (2000, 2000, 3), np.uint8))
    before = names(tmp_path)
    with pytest.raises(SinkError, match="most_mb"):
        sink.write(huge)
    assert names(tmp_path) == before


def test_what_we_did_not_write_is_never_removed(tmp_path: Path) -> None:
    Collection(tmp_path).save(result(prediction()).frame, "rose")  # type: ignore[arg-type]
    (tmp_path / "holiday.jpg").write_bytes(b"x" * 2_000_000)
    (tmp_path / "20231114T221320.000Z-event-00000.jpg").write_bytes(b"one digit too few")
    (tmp_path / "20231114T221320.000Z-clip-000000.jpg").write_bytes(b"another kind")
    (tmp_path / "20231114T221320.000Z-event-0000aa.jpg").symlink_to(tmp_path / "holiday.jpg")
    (tmp_path / ".hidden.part").write_bytes(b"somebody else's")
    labelled = tmp_path / "tulip"
    labelled.mkdir()
    (labelled / "20231114T221320.000Z-event-abcdef.jpg").write_bytes(b"labelled by a person")
    before = set(tmp_path.rglob("*"))
    sink = open_snapshots(f"snapshots:{tmp_path}?most=1&most_mb=1&sample=0")
    offer(sink, *event_pictures(5))
    after = set(tmp_path.rglob("*"))
    assert before <= after
    assert len(after - before) == 2


def test_what_a_power_cut_left_half_done_is_removed(tmp_path: Path) -> None:
    stem = "20231114T221320.000Z-event-abcdef"
    for name in (f"{stem}.json", f".{stem}.jpg.part", f".{stem}.json.part"):
        (tmp_path / name).write_bytes(b"half")
    open_snapshots(f"snapshots:{tmp_path}")
    assert names(tmp_path) == []


def test_pictures_that_a_person_labels_are_taken_by_train_and_left_alone(tmp_path: Path) -> None:
    from pipeline.dataset import list_folder

    sink = open_snapshots(f"snapshots:{tmp_path}?most=6&sample=0")
    offer(sink, *event_pictures(6))
    chance = random.Random(1)
    for path in sorted(tmp_path.glob("*.jpg"))[:4]:
        folder = tmp_path / chance.choice(["rose", "tulip"])
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    offer(sink, *event_pictures(6, 6))
    listing = list_folder(tmp_path)
    assert (listing.classes, len(listing.files), dict(listing.ignored)) == (("rose", "tulip"), 4, {})


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("snapshots:", "expected a name"),
        ("snapshots:{}?colour=1", "unknown option 'colour'; known are: events"),
        ("snapshots:{}?uncertain=2", "'uncertain' is '2', expected a number from 0 to 1"),
        ("snapshots:{}?sample=nan", "'sample' is 'nan'"),
        ("snapshots:{}?most_mb=0", "'most_mb' is '0'"),
        ("snapshots:{}?events=perhaps", "expected 1 or 0"),
        ("snapshots:{}/file/x", "name a folder that can be written"),
    ],
)
def test_what_is_not_understood_is_said(uri: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=says):
        open_snapshots(uri.format(tmp_path))
