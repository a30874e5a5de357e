"""Row 35: two installations at once. The second is refused, the first ends as if it had been alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.fault_board import FaultBoard, snapshot
from tests.releases import require_good, version_of


def test_the_second_process_is_refused_and_the_first_goes_on(fault_board: FaultBoard, tmp_path: Path) -> None:
    other = version_of(fault_board.good, "4.0.0", tmp_path / "other.egb")
    program = [sys.executable, "-m", "tests.fault_program"]
    install = [*program, "install", fault_board.store.root]
    with subprocess.Popen([*install, fault_board.good], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "trying colours 3.0.0 on this board\n"
        first.send_signal(signal.SIGSTOP)  # however fast it is
        before = snapshot(fault_board.store.releases)
        for command in ([*install, other], [*program, "rollback", fault_board.store.root]):
            second = subprocess.run(command, capture_output=True, text=True, check=False)
            assert second.returncode == 19, second.stderr
            assert second.stderr.endswith(": another installation is at work; wait for its end\n")
            assert second.stderr.count("\n") == 1
        assert snapshot(fault_board.store.releases) == before
        assert fault_board.store.staging.is_dir(), "the second has cleared away the first's"
        first.send_signal(signal.SIGCONT)
        rest = first.stdout.read()
    assert first.returncode == 0
    assert rest.endswith("3.0.0 changed, 1 starts\n")
    require_good(fault_board.store, "3.0.0")
    assert subprocess.run([*install, other], capture_output=True, check=False).returncode == 0
    require_good(fault_board.store, "4.0.0")


def test_one_that_was_killed_holds_nobody_up(fault_board: FaultBoard) -> None:
    install = [sys.executable, "-m", "tests.fault_program", "install", fault_board.store.root, fault_board.good]
    with subprocess.Popen(install, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        first.stdout.readline()
        first.kill()
    fault_board.take_good()
