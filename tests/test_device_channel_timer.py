"""The timer under a real systemd, as it is on a board: its program runs inside the sandbox that is written for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from system_manager import start_system_manager

from device.channel.timer import remove_units, service_text, timer_text, write_units
from device.errors import UsageError


def test_systemd_starts_the_poll_and_the_sandbox_leaves_it_what_it_needs(tmp_path: Path) -> None:
    """It may write the store and nothing else, speak TCP and to systemd, and has no more rights than it takes."""
    store = Path("/var/lib/edgegraft-releases/edgegraft")
    probe = (
        "import pathlib, socket, subprocess; socket.socket().close()\n"
        "subprocess.run(['systemctl', 'restart', '--no-block', 'other.service'], check=True)\n"
        f"pathlib.Path('{store}/seen').write_text('here')\n"
        "try:\n    pathlib.Path('/usr/never').write_text('')\n"
        f"except OSError as err:\n    pathlib.Path('{store}/error').write_text(err.strerror)\n"
    )
    service = service_text("edgegraft", [sys.executable, "-c", probe], store, True, {})
    write_units(tmp_path / "units", "edgegraft", timer_text("edgegraft", "1h"), service)
    with start_system_manager(tmp_path) as manager:
        manager.run(["mkdir", "-p", store])
        for suffix in ("service", "timer"):
            text = (tmp_path / "units" / f"edgegraft-update.{suffix}").read_text()
            # What the test's little systemd does not have.
            text = text.replace("network-online.target", "network.target")
            write = ["sh", "-c", f'printf %s "$1" >/etc/systemd/system/edgegraft-update.{suffix}', "sh", text]
            assert manager.run(write).returncode == 0
        other = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        manager.run(["sh", "-c", 'printf %s "$1" >/etc/systemd/system/other.service', "sh", other])
        manager.run(["systemctl", "daemon-reload"])
        started = manager.run(["systemctl", "start", "edgegraft-update.service"])
        assert started.returncode == 0, started.stderr + manager.log.read_text()[-2000:]
        manager.until("other.service", 60, ActiveState="active")
        assert manager.run(["cat", store / "seen"]).stdout == "here"
        assert manager.run(["cat", store / "error"]).stdout == "Read-only file system"
        assert manager.run(["systemctl", "start", "edgegraft-update.timer"]).returncode == 0
        shown = manager.show("edgegraft-update.timer")
        assert (shown["ActiveState"], shown["Persistent"], shown["FixedRandomDelay"]) == ("active", "yes", "yes")
        assert shown["RandomizedDelayUSec"] in ("1h", "3600000000")


def test_a_bundle_can_be_tried_inside_the_sandbox(tmp_path: Path, colour_bundle: Path) -> None:
    """With both runtimes: what they ask of the system is allowed."""
    store = Path("/var/lib/edgegraft-releases/edgegraft")
    probe = (
        "import pathlib; from device.bundle import open_bundle; from device.choosing import choose_here\n"
        f"store = pathlib.Path('{store}')\n"
        "with open_bundle(store / 'b.egb') as bundle:\n"
        "    chosen = choose_here(bundle, store, again=True)\n"
        "print('; '.join(one.error for one in chosen.tried), file=(store / 'errors').open('w'))\n"
    )
    service = service_text("edgegraft", [sys.executable, "-c", probe], store, True, {})
    with start_system_manager(tmp_path) as manager:
        manager.run(["mkdir", "-p", store])
        manager.run(["cp", colour_bundle, store / "b.egb"])
        text = service.replace("network-online.target", "network.target")
        manager.run(["sh", "-c", 'printf %s "$1" >/etc/systemd/system/edgegraft-update.service', "sh", text])
        manager.run(["systemctl", "daemon-reload"])
        started = manager.run(["systemctl", "start", "edgegraft-update.service"])
        assert started.returncode == 0, manager.log.read_text()[-3000:]
        assert manager.run(["cat", store / "errors"]).stdout.strip(" ;\n") == ""


def test_units_are_removed(tmp_path: Path) -> None:
    write_units(tmp_path, "edgegraft-door", "t", "s")
    assert remove_units(tmp_path, "edgegraft-door")
    assert not remove_units(tmp_path, "edgegraft-door")
    assert not list(tmp_path.iterdir())


def test_intervals_that_no_calendar_knows_are_refused() -> None:
    with pytest.raises(UsageError, match="15min"):
        timer_text("edgegraft", "7min")
