"""Programs out of Debian's packages, unpacked into the user's cache: nothing is installed, no service is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_CACHE = Path.home() / ".cache" / "edgegraft-tests"


def unpacked(name: str, *packages: str) -> Path:
    """The folder with the packages' files; fetched the first time. Skips where they cannot be had.

    Args:
        name: of the folder in the cache.
        packages: without what they depend on.
    """
    folder = _CACHE / name
    if folder.is_dir():
        return folder
    if shutil.which("apt-get") is None:
        pytest.skip(f"needs {', '.join(packages)}, and there is no apt-get to fetch them with")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
        fetch = ["apt-get", "download", *packages]
        if subprocess.run(fetch, cwd=scratch, capture_output=True, check=False).returncode:
            update = ["apt-get", "update"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get", "update"]
            subprocess.run(update, capture_output=True, check=False)
            if subprocess.run(fetch, cwd=scratch, capture_output=True, check=False).returncode:
                pytest.skip(f"needs {', '.join(packages)}, which cannot be fetched from here")
        files = Path(scratch) / "unpacked"
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, files], check=True)
        # Whole or not at all: an interrupted run leaves none.
        files.rename(folder)
    return folder
