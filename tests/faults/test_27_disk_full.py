"""Row 27: the disk is full before, during and at fsync. The old release stays, and a good one is taken afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import msgspec
import pytest

from device.bundle import Bundle, file_entry, open_bundle, write_bundle
from device.releases.base import FakeService, Verdict
from device.releases.installer import Asked
from device.releases.recover import recover
from device.releases.refusals import NoSpace
from device.releases.store import Store
from device.releases.trial import FakeTrial
from device.trust.base import Verified
from tests.fault_board import FaultBoard, moved
from tests.kill_points import KillPoint, kill_points, require_strace, run_failing
from tests.release_scenarios import MARKER
from tests.releases import BROKEN, WINDOW, require_good
from tests.small_disks import Card, card, give_more


def test_full_before(fault_board: FaultBoard, tmp_path: Path) -> None:
    class Nobody:
        def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
            raise AssertionError("it was copied")

    with card(tmp_path) as full:
        board = moved(fault_board, full.place)
        full.fill(leave_bytes=10_000_000)
        message = board.refused(board.good, 17, verifier=Nobody(), mend=full.empty)
    assert message.startswith(f"{tmp_path}/card/store: 1")
    assert message.endswith(" MB are needed; free some space, what ran before goes on running")


def test_full_while_it_is_tried(fault_board: FaultBoard, tmp_path: Path) -> None:
    def trial(bundle: Bundle, folder: Path, tell: Callable[[str], None]) -> None:
        full.fill()
        FakeTrial()(bundle, folder, tell)

    with card(tmp_path) as full:
        board = moved(fault_board, full.place)
        message = board.refused(board.good, 17, trial=trial, mend=full.empty)
    assert "No space left on device; free some space; what ran before goes on running" in message


def test_full_at_fsync(fault_board: FaultBoard, tmp_path: Path) -> None:
    """Every write succeeds, for it goes to memory; there is no room where it ends."""
    large = padded(fault_board.good, 24_000_000, tmp_path / "large.egb")
    with card(tmp_path, megabytes=96, really=12) as worn:
        board = moved(fault_board, worn.place)
        with pytest.raises(NoSpace, match="No space left on device; free some space") as caught:
            board.install(large, trial=FakeTrial())
        assert caught.value.exit_code == 17
        require_same_release(board, "1.0.0")
        give_more(worn, 128)
        worn.put_in_again()
        recover(board.store)
        require_good(board.store, "1.0.0")
        board.take_good()
    assert board.service.restarts == 1


@pytest.mark.parametrize("verdicts", [(), (BROKEN,)], ids=["healthy", "unhealthy"])
def test_full_once_it_was_switched_to(fault_board: FaultBoard, tmp_path: Path, verdicts: tuple[Verdict, ...]) -> None:
    with card(tmp_path) as full:
        service = FakeService(verdicts, on_restart=full.fill)
        board = moved(fault_board, full.place, service)
        with pytest.raises(NoSpace, match="free some space; what ran before goes on running"):
            board.install(board.good, trial=FakeTrial())
        assert service.restarts == 2, "the old release was not started again"
        require_good(board.store, "1.0.0")
        full.empty()
        FaultBoard(board.store, FakeService(), board.good).take_good()


def test_full_once_it_was_confirmed(fault_board: FaultBoard, tmp_path: Path) -> None:
    with card(tmp_path) as full:
        board = moved(fault_board, full.place)
        lines: list[str] = []
        at_work = board.installer(FakeTrial(), tell=lambda line: full_when(line, "is confirmed", full, lines))
        assert at_work.install(Asked(board.good, window=WINDOW)).version == "3.0.0"
        assert "older releases are tidied up at the next start" in lines[-1]
        assert "No space left on device" in lines[-1]
        full.empty()
        recover(board.store)
        require_good(board.store, "3.0.0")
        assert board.store.high_water() == {"colours": "3.0.0"}


@pytest.mark.long
def test_every_call_fails_for_want_of_room(fault_board: FaultBoard, tmp_path: Path) -> None:
    """Each change of files in turn, once and from then on."""
    require_strace()
    before = fault_board.store.root.parent
    arguments = ("install", tmp_path / "traced" / "store", fault_board.good, "quick", tmp_path / "traced" / MARKER)
    shutil.copytree(before, tmp_path / "traced", symlinks=True)
    points = kill_points("tests.fault_program", arguments, MARKER, tmp_path / "trace")
    points = [point for point in points if point.call not in ("openat", "unlink", "unlinkat", "rmdir", "fchmod")]
    assert len(points) >= 30
    fail = partial(failed_and_survived, before, fault_board.good)
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        assert {17} <= set(pool.map(fail, points)) <= {0, 17}


def failed_and_survived(before: Path, new: Path, point: KillPoint) -> int:
    """The call and all further ones of its name fail; what the installer ended with."""
    folder = before.parent / f"{point.call}-{point.turn}"
    shutil.copytree(before, folder, symlinks=True)
    store = Store(folder / "store")
    code = run_failing(
        "tests.fault_program", ("install", store.root, new, "quick", folder / MARKER), point, error="ENOSPC"
    )
    now = store.current()
    assert now is not None
    if code:  # it said so, and is where it was, unless not even a link could be put back
        assert now.record.version == "1.0.0" or point.call in ("symlink", "rename", "fsync"), point
    else:
        assert now.record.version == "3.0.0", point
    recover(store)
    require_good(store, "3.0.0" if code == 0 else "1.0.0")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault_program", "install", store.root, new, "quick"], check=False
    )
    assert done.returncode == 0, point
    require_good(store, "3.0.0")
    shutil.rmtree(folder)
    return code


def full_when(line: str, words: str, full: Card, lines: list[str]) -> None:
    lines.append(line)
    if words in line:
        full.fill()


def require_same_release(board: FaultBoard, version: str) -> None:
    """Nothing but what was being prepared has changed."""
    current = board.store.current()
    assert current is not None
    assert current.record.version == version
    assert board.store.journal() is None
    with open_bundle(current.bundle) as bundle:
        assert bundle.golden()


def padded(bundle: Path, size_bytes: int, out: Path) -> Path:
    """The same with a report that is so large, and does not shrink."""
    with open_bundle(bundle) as opened:
        report = os.urandom(size_bytes)
        manifest = msgspec.structs.replace(opened.manifest, report=file_entry("report.html", report))
        files = {entry.name: opened.read(entry) for entry in opened.manifest.files()}
    write_bundle(out, manifest, {**files, "report.html": report})
    return out
