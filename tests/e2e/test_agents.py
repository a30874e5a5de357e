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
from tests.releases import version_of
from tests.signatures import make_keys, sign
from tests.system_manager import SystemManager, start_system_manager

PROGRAM = Path(sys.executable).with_name("edgegraft")
MODULES = Path("/usr/share/mender/modules/v3")
DEVICE_TYPE = "raspberrypi5"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agents")


@pytest.fixture(scope="module")
def bundles(colour_models: dict[str, bytes], folder: Path) -> dict[str, Path]:
    """Signed ones: versions 1 to 4, and 9.0.0, which answers wrongly."""
    keys = make_keys(folder / "keys")
    small = write_colour_bundle(folder / "small.egb", {"onnx-float32": colour_models["onnx-float32"]})
    made = {version: version_of(small, version, folder / f"{version}.egb") for version in ("1.0.0", "2.0.0", "3.0.0")}
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
    if shutil.which("mender") is None or shutil.which("mender-artifact") is None:
        pytest.skip("needs Mender's client and mender-artifact (Debian packages of these names)")
    script = (
        f"mount -t tmpfs tmpfs {MODULES} && install -m 755 {MENDER_MODULE} {MODULES}/edgegraft && "
        f"mkdir -p /var/lib/mender && echo device_type={DEVICE_TYPE} > /var/lib/mender/device_type && "
        "mount -t tmpfs tmpfs /etc/mender && echo artifact_name=colours-1.0.0 > /etc/mender/artifact_info"
    )
    assert board.run(["sh", "-c", script]).returncode == 0

    def mender(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return board.run(["mender", "--no-syslog", *arguments])

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


def status(board: SystemManager) -> dict[str, Any]:
    done = board.run([PROGRAM, "status", "--json"])
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
