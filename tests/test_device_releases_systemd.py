"""Releases under a real systemd: a switch, a release that does not start, one that crashes after it was confirmed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.releases import version_of
from tests.system_manager import SystemManager, start_system_manager

PROGRAM = Path(sys.executable).with_name("edgegraft")
STORE = Path("/var/lib/edgegraft-releases/edgegraft")
BEFORE = STORE / "service_before.json"
UNIT = Path("/etc/systemd/system/edgegraft.service")
VARIANT = "tflite-static-int8"
WATCH = ("--allow-unsigned", "--watch", "16")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemManager]:
    with start_system_manager(tmp_path_factory.mktemp("systemd")) as manager:
        yield manager


def test_install_switch_roll_back_and_fall_back(manager: SystemManager, colour_bundle: Path, tmp_path: Path) -> None:
    bundles = {v: version_of(colour_bundle, v, tmp_path / f"{v}.egb") for v in ("1.0.0", "2.0.0", "4.0.0")}
    other = without_variant(colour_bundle, "3.0.0", tmp_path / "3.0.0.egb")
    options = ("--camera", "scene:", "--sink", "jsonl:answers.jsonl", "--variant", VARIANT)
    refused = manager.run([PROGRAM, "service", "install", bundles["1.0.0"], *options])
    assert refused.returncode == 11, refused.stderr
    first = manager.run([PROGRAM, "service", "install", bundles["1.0.0"], *options, *WATCH])
    assert first.returncode == 0, first.stderr
    assert status(manager)["current"]["version"] == "1.0.0"
    second = manager.run([PROGRAM, "install", bundles["2.0.0"], *WATCH, "--json"])
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["changed"] is True
    assert gap_s(manager) < 60
    # It passes its trial, but the service asks for a variant that it has not.
    third = manager.run([PROGRAM, "install", other, *WATCH])
    assert third.returncode == 21, third.stderr
    assert "colours-2.0.0 is at work again" in third.stderr
    report = status(manager)
    assert (report["current"]["version"], report["previous"]["version"]) == ("2.0.0", "1.0.0")
    assert [bad["version"] for bad in report["bad"]] == ["3.0.0"]
    text = manager.run([PROGRAM, "status"]).stdout
    assert "UNSIGNED" in text
    assert "bad: colours 3.0.0" in text
    assert manager.run([PROGRAM, "install", bundles["2.0.0"], *WATCH, "--json"]).stdout.count('"changed": false') == 1


def test_33_a_confirmed_release_that_crashes_in_a_loop_is_left(manager: SystemManager) -> None:
    unit = "edgegraft.service"
    impatient = Path("/etc/systemd/system/edgegraft.service.d/impatient.conf")
    text = "[Service]\\nRestartSec=100ms\\n[Unit]\\nStartLimitBurst=3\\n"
    manager.run(["sh", "-c", f"mkdir -p {impatient.parent} && printf '{text}' > {impatient}"])
    manager.run(["systemctl", "daemon-reload"])
    # Damaged after it was confirmed, as by a worn-out card; the record is whole.
    manager.run(["sh", "-c", f"printf x > {STORE}/current/bundle.egb"])
    manager.run(["systemctl", "restart", "--no-block", unit])
    manager.until("edgegraft-fallback.service", 120, ActiveState="inactive", Result="success", NRestarts="0")
    shown = manager.until(unit, 120, ActiveState="active", StatusText="ok")
    assert shown["NRestarts"] == "0"
    manager.until("edgegraft-fallback.service", 120, ActiveState="inactive")
    report = status(manager)
    assert report["current"]["version"] == "1.0.0"
    assert report["previous"] is None
    assert report["bad"][-1]["reason"] == "it crashed again and again"
    back = manager.run([PROGRAM, "rollback"])
    assert back.returncode == 22, back.stderr
    assert manager.run([PROGRAM, "service", "uninstall"]).returncode == 0


def test_a_service_that_does_not_work_as_it_is_asked_runs_as_before(
    manager: SystemManager, colour_bundle: Path, tmp_path: Path
) -> None:
    bundles = {v: version_of(colour_bundle, v, tmp_path / f"{v}.egb") for v in ("1.0.0", "2.0.0")}
    install, options = [PROGRAM, "service", "install"], ("--camera", "scene:", *WATCH)
    first = manager.run([*install, bundles["1.0.0"], *options])
    assert first.returncode == 0, first.stderr
    before = units(manager)
    # The release at work, and then a new one: neither has this variant.
    for version, more in (("1.0.0", ""), ("2.0.0", "colours-1.0.0 is at work again")):
        wrong = manager.run([*install, bundles[version], *options, "--variant", "nonesuch"])
        assert wrong.returncode == 21, wrong.stderr
        assert more in wrong.stderr
        assert units(manager) == before
        assert manager.until("edgegraft.service", 60, ActiveState="active", StatusText="ok")
        assert status(manager)["current"]["version"] == "1.0.0"
    assert manager.run(["test", "-e", BEFORE]).returncode == 1
    # Whose fault it was nobody knows: with other options the new one may come again.
    assert not status(manager)["bad"]
    other = manager.run([*install, bundles["2.0.0"], *options, "--variant", VARIANT])
    assert other.returncode == 0, other.stderr
    assert units(manager) != before
    assert manager.run(["test", "-e", BEFORE]).returncode == 1


@pytest.mark.parametrize("starts", [True, False])
def test_killed_in_between_the_next_start_is_as_before(
    manager: SystemManager, colour_bundle: Path, tmp_path: Path, starts: bool
) -> None:
    """As after a power cut; where the new edgegraft does not even start, the old one's way back leads there."""
    before, version = units(manager), status(manager)["current"]["version"]
    new = version_of(colour_bundle, "3.0.0", tmp_path / "3.0.0.egb")
    installer = manager.begin([PROGRAM, "service", "install", new, "--camera", "scene:?fps=3", "--allow-unsigned"])
    manager.wait(["sh", "-c", f"test -e {BEFORE} && grep -q fps=3 /etc/systemd/system/edgegraft.service"], 60)
    manager.run(["pkill", "-KILL", "-f", "3.0.0.egb"])
    installer.communicate()
    assert units(manager) != before
    if not starts:
        manager.run(["sed", "-i", r's,^\(ExecStart[a-zA-Z]*=[-+]*\)"[^"]*",\1"/bin/false",', UNIT])
        manager.run(["mkdir", "-p", f"{UNIT}.d"])
        manager.run(["sh", "-c", f"printf '[Service]\\nRestartSec=100ms\\n' > {UNIT}.d/impatient.conf"])
        manager.run(["systemctl", "daemon-reload"])
        assert units(manager).count('"/bin/false"') == 2
    manager.run(["systemctl", "restart", "--no-block", "edgegraft.service"])
    manager.wait(["sh", "-c", f"! test -e {BEFORE}"], 120)
    manager.until("edgegraft.service", 120, ActiveState="active", StatusText="ok")
    assert units(manager) == before
    assert status(manager)["current"]["version"] == version
    command = manager.show("edgegraft.service")["ExecStart"]
    assert "fps=3" not in command
    assert "/bin/false" not in command


def units(manager: SystemManager) -> str:
    """The service's own and the one that goes back."""
    return manager.run(["sh", "-c", f"cat {UNIT} {UNIT.with_name('edgegraft-fallback.service')}"]).stdout


def status(manager: SystemManager) -> dict[str, Any]:
    done = manager.run([PROGRAM, "status", "--json"])
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, report
    return report


def gap_s(manager: SystemManager) -> float:
    """The longest time between two answers."""
    text = manager.run(["cat", "/var/lib/edgegraft/edgegraft/answers.jsonl"]).stdout
    times: list[float] = [json.loads(line)["captured_at"] for line in text.splitlines()]
    gaps = [b - a for a, b in pairwise(times)]
    print(f"longest gap without an answer: {max(gaps):.2f} s")
    return max(gaps)


def without_variant(bundle: Path, version: str, out: Path) -> Path:
    """A bundle without the variant that the service asks for."""
    from device.bundle import open_bundle, write_bundle

    with open_bundle(bundle) as opened:
        variants = tuple(one for one in opened.manifest.variants if one.name != VARIANT)
        manifest = msgspec.structs.replace(opened.manifest, version=version, variants=variants)
        files = {entry.name: opened.read(entry) for entry in manifest.files()}
    write_bundle(out, manifest, files)
    return out
