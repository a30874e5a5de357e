"""Row 28: the file system is read-only, from the start or once the card is worn out. What runs goes on running."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device.bundle import Bundle
from device.classifier import open_classifier
from device.errors import SinkError
from device.releases.base import FakeService
from device.releases.refusals import ReadOnly
from device.releases.store import Store
from device.releases.trial import FakeTrial
from device.sinks import open_sink
from device.sinks.base import Result
from tests.bundles import plain_picture
from tests.fault_board import FaultBoard, moved
from tests.releases import require_good
from tests.sink_inputs import prediction
from tests.small_disks import Card, card


def start(board: FaultBoard) -> subprocess.CompletedProcess[str]:
    """What a service does before each of its starts."""
    command = [sys.executable, "-m", "device.releases.startup", board.store.root]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def require_classifies(store: Store) -> None:
    """The release at work can be started and is right, though nothing can be written."""
    current = store.current()
    assert current is not None
    with open_classifier(current.bundle, state=current.folder) as classifier:
        assert classifier.classify(plain_picture("red")).answer.label == "red"


def test_read_only_from_the_start(fault_board: FaultBoard, tmp_path: Path) -> None:
    with card(tmp_path) as disk:
        board = moved(fault_board, disk.place)
        disk.remount("ro")
        done = start(board)  # does not keep a service from starting, nor fills its log
        assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
        require_classifies(board.store)
        message = board.refused(board.good, 18, mend=lambda: disk.remount("rw"))
    assert message.endswith(
        "the file system is read-only; remount it writable (mount -o remount,rw); what ran before goes on running"
    )


def test_answers_are_written_again_once_they_can_be(tmp_path: Path) -> None:
    with card(tmp_path) as disk:
        file = disk.place / "answers.jsonl"
        disk.remount("ro")
        sink = open_sink(f"jsonl:{file}")
        for _ in range(2):
            with pytest.raises(SinkError, match="Read-only file system"):
                sink.write(Result(prediction(1)))
        disk.remount("rw")
        sink.write(Result(prediction(2)))
        sink.close()
        assert [json.loads(line)["frame"] for line in file.read_text().splitlines()] == [2]


def test_read_only_before_the_first_release(fault_board: FaultBoard, tmp_path: Path) -> None:
    with card(tmp_path) as disk:
        disk.remount("ro")
        program = [sys.executable, "-m", "tests.fault_program", "install", disk.place / "store", fault_board.good]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == 18, done.stderr
        assert done.stderr.count("\n") == 1
        disk.remount("rw")
        assert subprocess.run(program, capture_output=True, check=False).returncode == 0


def test_worn_out_while_it_is_tried(fault_board: FaultBoard, tmp_path: Path) -> None:
    def trial(bundle: Bundle, folder: Path, tell: Callable[[str], None]) -> None:
        disk.wear_out()
        FakeTrial()(bundle, folder, tell)

    with card(tmp_path) as disk:
        board = moved(fault_board, disk.place)
        with pytest.raises(ReadOnly, match="what ran before goes on running"):
            board.install(board.good, trial=trial)
        assert board.service.restarts == 0
        require_classifies(board.store)
        after_a_boot(board, disk)


def test_worn_out_once_it_was_switched_to(fault_board: FaultBoard, tmp_path: Path) -> None:
    with card(tmp_path) as disk:
        board = moved(fault_board, disk.place, FakeService(on_restart=disk.wear_out))
        with pytest.raises(
            ReadOnly, match=r"colours-3\.0\.0 is at work unconfirmed; the next start goes back to colours-1\.0\.0"
        ):
            board.install(board.good, trial=FakeTrial())
        require_classifies(board.store)
        after_a_boot(board, disk)


def after_a_boot(board: FaultBoard, disk: Card) -> None:
    """Checked and mounted anew, the old release is at work, and a good one is taken."""
    disk.put_in_again()
    done = start(board)
    assert done.returncode == 0, done.stderr
    require_good(board.store, "1.0.0")
    FaultBoard(board.store, FakeService(), board.good).take_good()
