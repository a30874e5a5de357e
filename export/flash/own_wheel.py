"""A wheel of the edgegraft that runs: built from its checkout, or put together again from what was installed."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import device
from export.errors import ExportError

_PACKAGES = ("device", "export", "pipeline")
_BESIDE = ("pyproject.toml", "README.md", "LICENSE")
# What an installation adds to a wheel's own files.
_INSTALLED = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def own_wheel(cache: Path, on_line: Callable[[str], None] = lambda line: None) -> Path:
    """The wheel, from the cache where nothing has changed.

    Args:
        cache: a folder for such wheels.
        on_line: called when it has to be built.

    Raises:
        ExportError: pip cannot build it, or the installation is not whole.
    """
    checkout = Path(device.__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        sources = _sources(checkout)
        key = _key({str(path.relative_to(checkout)): path for path in sources})
    else:
        installed = _installed()
        key = _key(installed)
    folder = cache / key
    found = sorted(folder.glob("*.whl"))
    if found:
        return found[0]
    on_line("making a wheel of edgegraft")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        if (checkout / "pyproject.toml").is_file():
            wheel = _build(checkout, sources, Path(scratch))
        else:
            wheel = _repack(installed, Path(scratch))
        return wheel.replace(folder / wheel.name)


def _sources(checkout: Path) -> list[Path]:
    paths = [path for package in _PACKAGES for path in sorted((checkout / package).rglob("*"))]
    kept = [path for path in paths if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"]
    return [*kept, *(checkout / name for name in _BESIDE)]


def _key(files: dict[str, Path]) -> str:
    digest = sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _build(checkout: Path, sources: list[Path], scratch: Path) -> Path:
    # From a copy: setuptools leaves its build folders in the tree it builds from.
    for path in sources:
        copy = scratch / "tree" / path.relative_to(checkout)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--no-input", "--wheel-dir", str(scratch)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "315532800"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [*command, str(scratch / "tree")], capture_output=True, text=True, check=False, env=environment
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise ExportError(f"no wheel of {checkout} could be built: {done.stderr.strip()[-500:]}")
    return wheels[0]


def _installed() -> dict[str, Path]:
    """Its files by their name in the wheel."""
    try:
        whole: Distribution = distribution("edgegraft")
    except PackageNotFoundError as err:
        raise ExportError("edgegraft is not installed here as a package; install it with pip") from err
    files = {}
    for entry in whole.files or ():
        if ".." in entry.parts or "__pycache__" in entry.parts or entry.name in _INSTALLED:
            continue
        files[entry.as_posix()] = Path(str(entry.locate()))
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing or not any(name.endswith(".dist-info/WHEEL") for name in files):
        raise ExportError(f"this installation of edgegraft lacks files ({missing[:3]}); install it again")
    return files


def _repack(files: dict[str, Path], scratch: Path) -> Path:
    info = next(name.partition("/")[0] for name in files if name.endswith(".dist-info/WHEEL"))
    path = scratch / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in sorted(files.items()):
            data = source.read_bytes()
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
        record.append(f"{info}/RECORD,,\n")
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", _EPOCH), "".join(record), zipfile.ZIP_DEFLATED)
    return path
