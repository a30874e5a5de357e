"""``run`` as a service of systemd: installed, looked at, removed."""

from __future__ import annotations

import os
import re
import shutil
import site
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import device
from device.errors import DeviceError
from device.releases import durable
from device.service_needs import Machine, Options
from device.service_unit import Unit, fallback_text, unit_text

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a service's parts lie.

    Attributes:
        unit: the name, without ``.service``.
        system: of the system's services; else of this user's.
        root: of the file system.
    """

    unit: str
    system: bool = True
    root: Path = Path("/")

    @property
    def unit_file(self) -> Path:
        """What systemd reads."""
        units = (
            self.root / "etc/systemd/system"
            if self.system
            else self._home("XDG_CONFIG_HOME", ".config") / ("systemd/user")
        )
        return units / f"{self.unit}.service"

    @property
    def fallback(self) -> str:
        """The unit that goes back to the release before."""
        return f"{self.unit}-fallback"

    @property
    def fallback_file(self) -> Path:
        """Its file."""
        return self.unit_file.with_name(f"{self.fallback}.service")

    @property
    def releases(self) -> Path:
        """Bundles as they were installed; ``current`` leads to the one at work. Not the service's to write."""
        if self.system:
            return self.root / "var/lib/edgegraft-releases" / self.unit
        return self._home("XDG_DATA_HOME", ".local/share") / "edgegraft" / self.unit

    @property
    def secrets(self) -> Path:
        """Camera and web hook addresses that hold a secret; only their owner reads them."""
        if self.system:
            return self.root / "etc/edgegraft" / self.unit
        return self._home("XDG_CONFIG_HOME", ".config") / "edgegraft" / self.unit

    @property
    def state(self) -> str:
        """The service's own folder, for people."""
        return f"/var/lib/edgegraft/{self.unit}" if self.system else f"the state folder of edgegraft/{self.unit}"

    def _home(self, variable: str, default: str) -> Path:
        given = os.environ.get(variable, "")
        return Path(given) if Path(given).is_absolute() else Path.home() / default


def unit_name(name: str | None) -> str:
    """The unit's name; several classifications on a board tell apart by ``name``.

    Raises:
        DeviceError: not a name.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise DeviceError(f"{name!r} is no name for a service; expected up to 20 of a-z, 0-9 and '-', e.g. greenhouse")
    return f"edgegraft-{name}" if name else "edgegraft"


def plan(places: Places, asked: Mapping[str, object], machine: Machine, systemd: int) -> Unit:
    """What the unit will be. Nothing is written.

    Args:
        places: where its parts lie.
        asked: the options of ``edgegraft run``, by name.
        machine: where it is installed.
        systemd: the version that will read the unit.

    Raises:
        DeviceError: an option that a service cannot have, or a file that is not there.
    """
    options = Options(machine, places.system, places.state)
    arguments = [
        *program_command(),
        "run",
        str(places.releases / "current" / "bundle.egb"),
        *_arguments(options, asked),
    ]
    package = Path(device.__file__).resolve().parent.parent
    folders = {
        Path(sys.prefix).resolve(),
        Path(sys.base_prefix).resolve(),
        package,
        Path(arguments[0]).resolve().parent,
    }
    user_site = Path(site.getusersitepackages()).resolve()
    needs = options.needs
    for name in needs.private:
        if places.system:
            needs.credentials[name] = places.secrets / name
        else:
            arguments = [
                f"file:{places.secrets / name}" if text == f"credential:{name}" else text for text in arguments
            ]
    outside = package if package == user_site and package not in folders - {package} else None
    before = [sys.executable, "-m", "device.releases.startup", str(places.releases)]
    program = sorted(folders)
    return Unit(places.unit, arguments, needs, places.system, program, places.fallback, before, outside, systemd)


def write(unit: Unit, places: Places) -> None:
    """Write secrets and unit; what is there of an earlier one is replaced file by file, durably.

    Raises:
        OSError: something cannot be written.
    """
    text = unit_text(unit)
    for name, secret in unit.needs.private.items():
        durable.make_folder(places.secrets, 0o700)
        durable.write_file(places.secrets / name, secret.encode(), 0o600)
    durable.make_folder(places.unit_file.parent)
    durable.write_file(places.unit_file, text.encode())


def write_fallback(places: Places) -> None:
    """Write the unit that goes back to the release before, by this edgegraft.

    Raises:
        OSError: it cannot be written.
    """
    durable.make_folder(places.fallback_file.parent)
    durable.write_file(places.fallback_file, fallback_text(places.unit, _fallback_command(places)).encode())


def uninstall(places: Places) -> bool:
    """Remove unit, bundles and secrets; what the service has written stays. False where nothing was installed.

    Raises:
        DeviceError: for want of rights.
    """
    there = places.unit_file.exists()
    try:
        places.unit_file.unlink(missing_ok=True)
        places.fallback_file.unlink(missing_ok=True)
        for folder in (places.releases, places.secrets):
            if folder.is_dir():
                shutil.rmtree(folder)
    except OSError as err:
        raise DeviceError(f"{err.filename}: {err.strerror}; run it with sudo") from err
    return there


def program_command() -> list[str]:
    """How this edgegraft is started."""
    beside = Path(sys.executable).with_name("edgegraft")
    found = str(beside) if beside.is_file() else shutil.which("edgegraft")
    return [os.path.abspath(found)] if found else [sys.executable, "-m", "device.cli"]  # noqa: PTH100 - a link stays one


def _fallback_command(places: Places) -> list[str]:
    name = places.unit.removeprefix("edgegraft").removeprefix("-")
    options = [*(["--name", name] if name else []), *([] if places.system else ["--user"])]
    return [*program_command(), "rollback", "--reason", "it crashed again and again", *options]


def _arguments(options: Options, asked: Mapping[str, object]) -> list[str]:
    values: list[tuple[str, object]] = []
    for number, uri in enumerate(_texts(asked, "camera"), 1):
        values.append(("camera", options.camera(uri, number)))
    for number, uri in enumerate(_texts(asked, "sink"), 1):
        values.append(("sink", options.sink(uri, number)))
    if asked.get("web"):
        values.append(("web", options.web(str(asked["web"]))))
    values += [("web-name", name) for name in _texts(asked, "web_name")]
    if asked.get("web_token"):
        values.append(("web-token", options.secret(str(asked["web_token"]), "web-token")))
    if asked.get("collect"):
        values.append(("collect", options.folder(str(asked["collect"]), "--collect ")))
    if asked.get("rules"):
        values.append(("rules", options.file(str(asked["rules"]), "rules")))
    values += [(name.replace("_", "-"), asked[name]) for name in ("max_fps", "variant", "threads") if asked.get(name)]
    # With '=', for a value that begins with a dash is a value too.
    return [f"--{name}={value}" for name, value in values] + (["--motion"] if asked.get("motion") else [])


def _texts(asked: Mapping[str, object], name: str) -> Sequence[str]:
    value = asked.get(name) or ()
    assert isinstance(value, Sequence)
    return [str(each) for each in value]
