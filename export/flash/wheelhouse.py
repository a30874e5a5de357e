"""The wheels that a board needs, gathered on the workstation for the board's platform: nothing is built for it.

pip chooses and fetches them, with its own configuration (index, proxies, certificates). pip evaluates the conditions of
requirements ("python_version < '3.11'") for the Python it runs on, not for the one it is asked about, so what its
answer lacks for the board is asked for again until nothing is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.parser import HeaderParser
from hashlib import sha256
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from device.console import printable
from export.errors import ExportError
from export.flash.own_wheel import own_wheel

_OLDEST_GLIBC = 17
_DEFAULT_GLIBC = (2, 35)
_ROUNDS = 8
# So that a venv can be had where the system's Python lacks ensurepip, as Debian's does.
_PIP = "pip>=24"


def build_wheelhouse(
    out: Path,
    python: str = "3.11",
    machine: str = "aarch64",
    extras: Sequence[str] = ("board",),
    glibc: tuple[int, int] = _DEFAULT_GLIBC,
    on_line: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Fill a folder with the wheel of this edgegraft, of all that it requires there, and of pip.

    Gathered once per set of requirements and platform; later calls copy from the cache.

    Args:
        out: made where it is missing; what lies there stays.
        python: of the board, major and minor.
        machine: of the board, as ``uname -m`` says it.
        extras: of edgegraft that the board needs.
        glibc: of the board; wheels that ask for a newer one are not taken.
        on_line: called with what is being done, when it takes a while.

    Returns:
        The wheels in ``out`` that belong to it, by name.

    Raises:
        ExportError: pip fails, or there is no wheel of something for this platform.
    """
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    own = own_wheel(cache / "own", on_line)
    wanted = [text for text, _ in _needs(own, {canonicalize_name(each) for each in extras}, python, machine)]
    wanted = sorted({*wanted, _PIP})
    key = sha256("\n".join([*wanted, python, machine, str(glibc)]).encode()).hexdigest()[:16]
    found = cache / f"cp{python.replace('.', '')}-{machine}-{key}"
    if not found.is_dir():
        on_line(f"fetching wheels for Python {python} on {machine}")
        with _whole_or_not(found) as scratch:
            _gather(scratch, wanted, python, machine, glibc)
    out.mkdir(parents=True, exist_ok=True)
    wheels = []
    for wheel in sorted([own, *found.glob("*.whl")], key=lambda path: path.name):
        copy = out / wheel.name
        if not copy.exists() or copy.read_bytes() != wheel.read_bytes():
            shutil.copyfile(wheel, copy)
        wheels.append(copy)
    return wheels


def _gather(folder: Path, wanted: list[str], python: str, machine: str, glibc: tuple[int, int]) -> None:
    asked = list(wanted)
    for _ in range(_ROUNDS):
        _download(folder, asked, python, machine, glibc)
        missing = _missing(folder, wanted, python, machine)
        if not missing:
            return
        asked = sorted({*asked, *missing})
    raise ExportError(f"the wheels for Python {python} on {machine} do not come to an end; still missing: {missing}")


def _download(folder: Path, wanted: list[str], python: str, machine: str, glibc: tuple[int, int]) -> None:
    version = python.replace(".", "")
    platforms = [f"manylinux_{glibc[0]}_{minor}_{machine}" for minor in range(glibc[1], _OLDEST_GLIBC - 1, -1)]
    command = [sys.executable, "-m", "pip", "download", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--implementation", "cp"]
    command += ["--python-version", python, "--abi", f"cp{version}", "--abi", "abi3", "--abi", "none"]
    for platform in (*platforms, f"manylinux2014_{machine}"):
        command += ["--platform", platform]
    done = subprocess.run([*command, "--", *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [printable(line) for line in done.stderr.splitlines() if "ERROR" in line]
        raise ExportError(
            f"pip finds no wheels for Python {python} on {machine} with glibc {glibc[0]}.{glibc[1]}: "
            f"{'; '.join(lines[-2:]) or f'it ended with {done.returncode}'}"
        )


def _missing(folder: Path, wanted: list[str], python: str, machine: str) -> set[str]:
    """Requirements that no wheel in the folder meets."""
    wheels = {}
    for path in folder.glob("*.whl"):
        try:
            wheels[parse_wheel_filename(path.name)[0]] = path
        except InvalidWheelFilename as err:
            raise ExportError(f"{path.name}: {err}") from err
    missing, seen = set(), set()
    todo = [(text, Requirement(text)) for text in wanted]
    while todo:
        text, requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(map(canonicalize_name, requirement.extras))
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name in wheels:
            todo += _needs(wheels[name], set(extras), python, machine)
        else:
            missing.add(text)
    return missing


def _needs(wheel: Path, extras: set[str], python: str, machine: str) -> list[tuple[str, Requirement]]:
    """What a wheel requires on the board, without the conditions."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    needs = []
    try:
        for text in HeaderParser().parsestr(_metadata(wheel)).get_all("Requires-Dist", []):
            requirement = Requirement(text)
            marker, requirement.marker = requirement.marker, None
            if marker is None or any(marker.evaluate({**environment, "extra": each}) for each in {"", *extras}):
                needs.append((str(requirement), requirement))
    except (InvalidRequirement, zipfile.BadZipFile, OSError) as err:
        raise ExportError(f"{wheel.name}: its metadata cannot be read ({err})") from err
    return needs


def _metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.count("/") == 1 and name.endswith(".dist-info/METADATA"):
                return archive.read(name).decode("utf-8", "replace")
    raise ExportError(f"{wheel.name}: no METADATA in it")


def _cache() -> Path:
    given = os.environ.get("EDGEGRAFT_CACHE")
    if given:
        return Path(given) / "wheelhouse"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgegraft" / "wheelhouse"


@contextmanager
def _whole_or_not(folder: Path) -> Iterator[Path]:
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        yield scratch
        # Another process may have been faster; both hold the same.
        if not folder.is_dir():
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
