"""Artifacts for fleets that have an agent already: Mender's, RAUC's. Their own programs write them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device.bundle import open_bundle
from export.channel.errors import PublishError

MENDER_MODULE = Path(__file__).with_name("mender_module")
RAUC_HANDLER = Path(__file__).with_name("rauc_handler")
PAYLOAD = "edgegraft"
_BUNDLE = "bundle.egb"
_TIMEOUT_S = 1800


@dataclass(frozen=True, slots=True)
class RaucConfig:
    """What RAUC signs with, and for what.

    Attributes:
        certificate, key: PEM files or PKCS#11 URIs.
        compatible: of the boards' system.conf.
    """

    certificate: str
    key: str
    compatible: str


def write_mender(bundle: Path, out: Path, device_types: Sequence[str]) -> None:
    """A Mender artifact of type ``edgegraft``; on the boards the update module ``mender_module`` installs it.

    Args:
        bundle: with its signature beside it, where it has one.
        out: the ``.mender`` file.
        device_types: for which it is.

    Raises:
        BundleError: the bundle is not intact.
        PublishError: the program is missing or fails.
    """
    with open_bundle(bundle) as opened, tempfile.TemporaryDirectory() as scratch:
        name, version = opened.manifest.name, opened.manifest.version
        files = _gather(bundle, Path(scratch))
        command = [
            "mender-artifact",
            "write",
            "module-image",
            "--type",
            PAYLOAD,
            "--artifact-name",
            f"{name}-{version}",
        ]
        command += [part for kind in device_types for part in ("--device-type", kind)]
        command += ["--software-filesystem", PAYLOAD, "--software-name", name, "--software-version", version]
        command += [part for path in files for part in ("--file", str(path))]
        fresh = out.with_name(f".{out.name}.new")
        _run([*command, "--output-path", str(fresh)], "Debian's package mender-artifact")
        fresh.replace(out)


def write_rauc(bundle: Path, out: Path, config: RaucConfig) -> None:
    """A RAUC bundle with a handler in place of slots: it writes no partition, it calls our installer.

    Args:
        bundle: with its signature beside it, where it has one.
        out: the ``.raucb`` file.
        config: see there.

    Raises:
        BundleError: the bundle is not intact.
        PublishError: the program is missing or fails, or a value that RAUC's manifest cannot hold.
    """
    if not config.compatible.isprintable() or config.compatible != config.compatible.strip() or not config.compatible:
        raise PublishError(f"--rauc-compatible {config.compatible!r}: expected the text of the boards' system.conf")
    with open_bundle(bundle) as opened, tempfile.TemporaryDirectory() as scratch:
        content = Path(scratch) / "content"
        content.mkdir()
        _gather(bundle, content)
        shutil.copyfile(RAUC_HANDLER, content / "handler")
        (content / "handler").chmod(0o755)
        (content / "manifest.raucm").write_text(
            f"[update]\ncompatible={config.compatible}\nversion={opened.manifest.version}\n"
            f"description=edgegraft {opened.manifest.name}\n\n[bundle]\nformat=verity\n\n[handler]\nfilename=handler\n",
            encoding="utf-8",
        )
        fresh = Path(scratch) / "new.raucb"
        keys = ["--cert", config.certificate, "--key", config.key]
        _run(["rauc", *keys, "bundle", str(content), str(fresh)], "Debian's packages rauc and squashfs-tools")
        beside = out.with_name(f".{out.name}.new")
        shutil.copyfile(fresh, beside)
        beside.replace(out)


def _gather(bundle: Path, folder: Path) -> list[Path]:
    files = [folder / _BUNDLE]
    shutil.copyfile(bundle, files[0])
    signature = bundle.with_name(bundle.name + ".sig")
    if signature.is_file():
        files.append(folder / f"{_BUNDLE}.sig")
        shutil.copyfile(signature, files[1])
    return files


def _run(command: Sequence[str], package: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as err:
        raise PublishError(f"{command[0]} is not installed here; it is in {package}") from err
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).strip().splitlines() if line.strip()]
        raise PublishError(f"{command[0]}: {said[-1] if said else f'it ended with code {done.returncode}'}")
