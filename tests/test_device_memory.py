"""Peak memory is that of the program itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from device.memory import peak_rss_mb

_PRINT = "from device.memory import peak_rss_mb; print(peak_rss_mb())"


def test_what_was_taken_is_counted_and_stays_counted() -> None:
    before = peak_rss_mb()
    taken = np.ones(400_000_000 + int(before * 1e6), np.uint8)
    del taken
    assert peak_rss_mb() > before + 300


def test_a_large_parent_does_not_make_its_child_large() -> None:
    taken = np.ones(1_000_000_000, np.uint8)
    child = subprocess.run([sys.executable, "-c", _PRINT], capture_output=True, text=True, check=True)
    assert taken.any()
    assert 5 < float(child.stdout) < 500
