"""Row 36: the same installation twice. The second changes no file and starts nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.fault_board import FaultBoard, snapshot


def test_the_second_changes_nothing(fault_board: FaultBoard, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "tests.fault_program", "install", fault_board.store.root]
    said = []
    copy = tmp_path / "under another name.egb"
    shutil.copyfile(fault_board.good, copy)
    seen = []
    for bundle in (fault_board.good, fault_board.good, copy):
        done = subprocess.run([*install, bundle], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.splitlines())
        seen.append(snapshot(fault_board.store.root))
    assert said[0][-1] == "3.0.0 changed, 1 starts"
    assert said[1:] == [["3.0.0 unchanged, 0 starts"]] * 2, "it was tried again"
    assert seen[0] == seen[1] == seen[2]


def test_also_where_the_first_left_others_behind(fault_board: FaultBoard) -> None:
    fault_board.take_good()
    (fault_board.store.staging).mkdir()
    (fault_board.store.staging / "bundle.egb").write_bytes(b"half")
    assert not fault_board.install(fault_board.good).changed
    assert not fault_board.store.staging.exists()
