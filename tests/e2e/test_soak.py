"""The soak of scripts/soak, shortened: everything around a running classification fails, and it goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[2] / "scripts" / "soak"


@pytest.mark.long
def test_cut_cameras_a_stopped_broker_and_viewers_leave_nothing_behind(colour_bundle: Path) -> None:
    if shutil.which("mosquitto") is None:
        pytest.skip("needs the Debian package mosquitto")
    command = [sys.executable, SOAK, colour_bundle, "--minutes", "2.5", "--cuts", "9", "--stops", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "holds: 9 of 9 cuts over in time" in ended.stdout
