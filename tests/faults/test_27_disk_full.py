"""Row 27: the disk is full before, during and at fsync. The old release stays, and a good one is taken afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from device.bundle import Bundle
from device.releases.base import FakeService
from device.releases.store import Store
from device.releases.trial import FakeTrial
from device.trust.base import AllowUnsigned, Verified
from tests.fault_board import FaultBoard, make_board
from tests.failing_calls import failures_survived
from tests.releases import require_good
from tests.small_disks import fill, small_ext4


@pytest.fixture
def board(colour_models: dict[str, bytes], tmp_path: Path) -> Iterator[FaultBoard]:
    """One whose releases lie on an ext4 of 64 MB."""
    with small_ext4(tmp_path, 64) as card:
        (tmp_path / "board").mkdir()
        made = make_board(colour_models, tmp_path / "board")
        shutil.move(made.store.root, card / "store")
        yield FaultBoard(Store(card / "store"), made.service, made.good)


def test_full_before(board: FaultBoard) -> None:
    other = fill(board.store.root.parent, leave_bytes=10_000_000)

    class Nobody:
        def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
            raise AssertionError("it was copied")

    with emptied_after(other, board):
        message = board_refuses(board, verifier=Nobody())
    assert " MB are free, 34 MB are needed; free some space" in message


