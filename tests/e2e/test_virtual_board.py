"""The board in a file, in the short form: first boot, one switch, one roll-back, two power cuts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/virtual_board"
PROGRAMS = ("qemu-system-aarch64", "mmdebstrap", "nbdkit", "mcopy", "mkfs.fat", "sfdisk", "ssh-keygen")

pytestmark = pytest.mark.long


def test_a_board_lives_through_it_all(tmp_path: Path) -> None:
    lacks = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if lacks or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(lacks) or 'nothing else'}; scripts/test --all installs what is missing")
    done = subprocess.run(
        [SCRIPT, "--short", "--json", "--keep", tmp_path], capture_output=True, text=True, timeout=4500, check=False
    )
    assert done.stdout, done.stderr[-4000:]
    print(done.stderr)
    report = json.loads(done.stdout)
    events = [each["what"] for each in report["events"]]
    assert [each for each in report["events"] if not each["good"]] == [], done.stderr[-6000:]
    assert (done.returncode, report["good"]) == (0, True)
    assert sum(each.startswith("power cut") for each in events) == 2
    # A disk that loses nothing would prove nothing.
    cuts = [each["verdict"] for each in report["events"] if each["what"].startswith("power cut")]
    assert any("in a flush" in verdict for verdict in cuts), cuts
