"""How much memory this process has taken."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_rss_mb() -> float:
    """Largest resident memory of this program so far, in 1e6 bytes.

    Linux hands the figure of ``getrusage`` down from a parent to the program that its child starts, so that a small
    program started by a large one would look large; ``VmHWM`` belongs to this program alone.
    """
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    # macOS counts in bytes, others in units of 1024.
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
