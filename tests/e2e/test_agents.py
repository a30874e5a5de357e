"""Fleets with an agent of their own: Mender's client and RAUC's service install what ``edgegraft publish`` wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from export.channel.agents import MENDER_MODULE, RaucConfig, write_mender, write_rauc
from tests.bundles import onnx_model, replaced, write_colour_bundle
from tests.debian_packages import unpacked
from tests.releases import version_of
from tests.signatures import make_keys, sign
from tests.system_manager import SystemManager, start_system_manager

PROGRAM = Path(sys.executable).with_name("edgegraft")
MODULES = Path("/usr/share/mender/modules/v3")
DEVICE_TYPE = "raspberrypi5"
# A bus on which any may own any name: it is the test's alone.
_BUS = """<busconfig><type>system</type><auth>EXTERNAL</auth>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""
RAUC_LOG = Path("/run/rauc.log")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agents")


@pytest.fixture(scope="module")
def bundles(colour_models: dict[str, bytes], folder: Path) -> dict[str, Path]:
    """Signed ones: versions 1 to 4, and 9.0.0, which answers wrongly."""
    keys = make_keys(folder / "keys")
    small = write_colour_bundle(folder / "small.egb", {"onnx-float32": colour_models["onnx-float32"]})
    made = {
        version: version_of(small, version, folder / f"{version}.egb")
        for version in ("1.0.0", "2.0.0", "3.0.0", "4.0.0")
    }
    wrong = folder / "wrong.egb"
    wrong.write_bytes(replaced(small, "onnx-float32.onnx", onnx_model(scale=-8.0)))
    made["9.0.0"] = version_of(wrong, "9.0.0", folder / "9.0.0.egb")
    for bundle in made.values():
        sign(bundle, keys)
    return made


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, folder: Path, bundles: dict[str, Path]) -> Iterator[SystemManager]:
    """A service with version 1.0.0 at work, which takes what is signed only."""
    with start_system_manager(tmp_path_factory.mktemp("systemd")) as manager:
        script = (
            "mount -t tmpfs tmpfs /etc/default && "
            f"for agent in mender rauc; do printf 'EDGEGRAFT={PROGRAM}\\n' > /etc/default/edgegraft-$agent; done"
        )
        for command in (
            ["sh", "-c", script],
            [PROGRAM, "trust", "enroll", folder / "keys" / "1.root.json"],
            [PROGRAM, "service", "install", bundles["1.0.0"], "--camera", "scene:", "--watch", "0"],
        ):
            done = manager.run(command)
            assert done.returncode == 0, done.stderr
        yield manager


def test_mender_installs_commits_and_rolls_back(board: SystemManager, folder: Path, bundles: dict[str, Path]) -> None:
    if shutil.which("mender-artifact") is None:
        pytest.skip("needs mender-artifact (Debian package of that name)")
    # Unpacked: installed, it would start Mender's daemon on this machine.
    client = unpacked("mender-client", "mender-client") / "usr/bin/mender"
    script = (
        f"mkdir -p {MODULES} /etc/mender && mount -t tmpfs tmpfs {MODULES} && "
        f"install -m 755 {MENDER_MODULE} {MODULES}/edgegraft && "
        f"mkdir -p /var/lib/mender && echo device_type={DEVICE_TYPE} > /var/lib/mender/device_type && "
        "mount -t tmpfs tmpfs /etc/mender && echo artifact_name=colours-1.0.0 > /etc/mender/artifact_info"
    )
    assert board.run(["sh", "-c", script]).returncode == 0

    def mender(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return board.run([client, "--no-syslog", *arguments])

    artifacts = {}
    for version, bundle in bundles.items():
        artifacts[version] = folder / f"{version}.mender"
        write_mender(bundle, artifacts[version], [DEVICE_TYPE])
    first = mender("install", artifacts["2.0.0"])
    assert first.returncode == 0, first.stderr
    assert status(board)["current"]["version"] == "2.0.0"
    assert status(board)["current"]["signed"] is True
    assert mender("commit").returncode == 0
    assert mender("show-artifact").stdout.strip() == "colours-2.0.0"
    # Refused by the board's own trial: nothing is switched, and Mender is told.
    bad = mender("install", artifacts["9.0.0"])
    assert bad.returncode != 0
    assert "does not compute it rightly" in bad.stderr
    assert status(board)["current"]["version"] == "2.0.0"
    assert mender("show-artifact").stdout.strip() == "colours-2.0.0"
    # Installed, and not wanted after all.
    assert mender("install", artifacts["3.0.0"]).returncode == 0
    assert status(board)["current"]["version"] == "3.0.0"
    back = mender("rollback")
    assert back.returncode == 0, back.stderr
    assert status(board)["current"]["version"] == "2.0.0"
    assert mender("show-artifact").stdout.strip() == "colours-2.0.0"
    foreign = folder / "foreign.mender"
    write_mender(bundles["3.0.0"], foreign, ["beaglebone"])
    assert mender("install", foreign).returncode != 0
    assert status(board)["current"]["version"] == "2.0.0"


@pytest.fixture
def rauc(board: SystemManager, folder: Path) -> Iterator[RaucConfig]:
    """RAUC's service on a D-Bus of the board's own; the board trusts this certificate."""
    packages = {"rauc": "rauc", "dbus-daemon": "dbus", "openssl": "openssl", "unsquashfs": "squashfs-tools"}
    for program, package in packages.items():
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (Debian package {package})")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=rauc", "-days", "2"]
    subprocess.run([*make, "-keyout", folder / "k", "-out", folder / "c"], check=True, capture_output=True)
    conf = folder / "system.conf"
    conf.write_text(
        "[system]\ncompatible=gateway\nbootloader=noop\nmountprefix=/run/rauc\nbundle-formats=plain verity\n"
        f"[keyring]\npath={folder}/c\n[slot.rootfs.0]\ndevice=/dev/null\ntype=raw\nbootname=system0\n"
    )
    (folder / "bus.conf").write_text(_BUS)
    service = f"rauc --conf={conf} --override-boot-slot=system0 service"
    begin = (
        f"mkdir -p /run/dbus /run/rauc && dbus-daemon --config-file={folder}/bus.conf --fork && "
        "systemd-run --unit rauc-test "
        f"--property=StandardOutput=file:{RAUC_LOG} --property=StandardError=file:{RAUC_LOG} {service}"
    )
    done = board.run(["sh", "-c", begin])
    assert done.returncode == 0, done.stderr
    yield RaucConfig(str(folder / "c"), str(folder / "k"), "gateway")
    board.run(["systemctl", "stop", "rauc-test"])


def test_rauc_installs_by_its_handler(
    board: SystemManager, rauc: RaucConfig, folder: Path, bundles: dict[str, Path]
) -> None:
    def install(version: str, config: RaucConfig = rauc) -> subprocess.CompletedProcess[str]:
        out = folder / f"{version}.raucb"
        write_rauc(bundles[version], out, config)
        return board.run(["rauc", "install", mountable(out, config)])

    before = status(board)["current"]["version"]
    foreign = install("4.0.0", RaucConfig(rauc.certificate, rauc.key, "another board"))
    assert foreign.returncode != 0
    assert "Compatible mismatch" in foreign.stdout
    assert status(board)["current"]["version"] == before
    done = install("4.0.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert status(board)["current"]["version"] == "4.0.0"
    assert status(board)["current"]["signed"] is True
    bad = install("9.0.0")
    assert bad.returncode != 0
    assert status(board)["current"]["version"] == "4.0.0"
    assert "does not compute it rightly" in board.run(["cat", RAUC_LOG]).stdout


def mountable(path: Path, config: RaucConfig) -> Path:
    """The file itself; or, where the kernel has no device mapper and so no dm-verity, one with the same content that
    RAUC checks as a whole before it mounts it."""
    if Path("/dev/mapper/control").exists():
        return path
    content, plain = path.with_suffix(".content"), path.with_suffix(".plain.raucb")
    for old in (content, plain):
        subprocess.run(["rm", "-rf", old], check=True)
    subprocess.run(["unsquashfs", "-q", "-n", "-d", content, path], check=True, capture_output=True)
    manifest = content / "manifest.raucm"
    text = manifest.read_text()
    assert "format=verity" in text
    # What the verity format has added; the plain one's manifest is signed with everything else.
    lines = [line for line in text.splitlines() if not line.startswith("verity-")]
    manifest.write_text("\n".join(lines).replace("format=verity", "format=plain") + "\n")
    command = ["rauc", "--cert", config.certificate, "--key", config.key, "bundle", content, plain]
    subprocess.run(command, check=True, capture_output=True)
    return plain


def status(board: SystemManager) -> dict[str, Any]:
    done = board.run([PROGRAM, "status", "--json"])
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
