"""Runs on the board, with its python3 and nothing else: makes the runtime from the card's wheels, starts the service.

``enable``: called by cloud-init at every boot until the work is done; hands it to a systemd unit, which is at work
outside the boot and comes back after a power cut. ``work``: does it, from wherever it was cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Not after cloud-init's own units: without a network those wait two minutes for one. "exec": the boot goes on
# meanwhile, and with it whatever lets a person log in.
_UNIT = """\
[Unit]
Description=edgegraft first boot
After=local-fs.target
ConditionPathExists=!{home}/done
StartLimitIntervalSec=3600
StartLimitBurst=4

[Service]
Type=exec
ExecStart=/usr/bin/env python3 {home}/first_boot.py work
Restart=on-failure
RestartSec=30

[Install]
WantedBy=multi-user.target
"""
# Debian's cloud-init holds up the whole boot until there is a network, and systemd-networkd gives that up after two
# minutes, at every boot.
_WAITER = "systemd-networkd-wait-online"
_SHORT_WAIT = f"""\
# Written by edgegraft: without a network, too, this board is soon at work.
[Service]
ExecStart=
ExecStart=/lib/systemd/{_WAITER} --any --timeout=15
"""
_SMALL = ("first_boot.py", "options.json", "files.sha256", "bundle.egb", "bundle.egb.sig", "root.json", "rules.toml")


class Board:
    """Where things lie; tests give another root."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.home = root / "var/lib/edgegraft-first-boot"
        self.runtimes = root / "opt/edgegraft-runtimes"
        # Where a workstation that comes over SSH later looks for what was asked for.
        self.flashed = root / "var/lib/edgegraft-flash"
        self.units = root / "etc/systemd/system"
        self.log = root / "var/log/edgegraft-first-boot.log"
        self.command = root / "usr/local/bin/edgegraft"

    def enable(self, card: Path) -> None:
        """Write the unit, durably, and have it started. Does nothing once the work is done."""
        if (self.home / "done").exists():
            return
        self.home.mkdir(parents=True, exist_ok=True)
        write(self.home / "first_boot.py", (card / "first_boot.py").read_bytes())
        write(self.home / "card", str(card).encode())
        unit = self.units / "edgegraft-first-boot.service"
        unit.parent.mkdir(parents=True, exist_ok=True)
        write(unit, _UNIT.format(home=self.home).encode())
        if json.loads((card / "options.json").read_text())["short_wait"]:
            waiter = self.units / f"{_WAITER}.service.d" / "edgegraft.conf"
            waiter.parent.mkdir(exist_ok=True)
            write(waiter, _SHORT_WAIT.encode())
        os.sync()
        run("systemctl", "daemon-reload")
        run("systemctl", "enable", unit.name)
        run("systemctl", "start", "--no-block", unit.name)

    def work(self) -> None:
        """Everything; each step that was finished before is passed over."""
        card = Path((self.home / "card").read_text())
        try:
            self._check(card)
            options = json.loads((card / "options.json").read_text())
            set_clock(options["prepared_at"])
            self._keep(card)
            venv = self.runtimes / options["runtime"]
            self._runtime(venv, card / "wheelhouse")
            self._service(venv, options)
            self._remember(options)
        except BaseException as err:
            self.say(f"failed: {err}")
            self._report(card)
            raise
        self.say("done: edgegraft is at work; 'edgegraft status' tells more")
        write(self.home / "done", b"")
        os.sync()
        # The space is wanted by the next kernel; what is needed was copied.
        for name in ("wheelhouse", "before"):
            shutil.rmtree(card / name, ignore_errors=True)
        for name in _SMALL[1:]:
            (card / name).unlink(missing_ok=True)
        self._report(card)

    def say(self, text: str) -> None:
        """To the log and, for the journal, to standard error."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"
        print(line, file=sys.stderr, flush=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            log.write(line + "\n")

    def _check(self, card: Path) -> None:
        for line in (card / "files.sha256").read_text().splitlines():
            digest, _, name = line.partition("  ")
            if hashlib.sha256((card / name).read_bytes()).hexdigest() != digest:
                raise RuntimeError(f"{name} on the card is damaged; prepare the card again, or take another one")

    def _keep(self, card: Path) -> None:
        for name in _SMALL:
            if (card / name).exists():
                write(self.home / name, (card / name).read_bytes())

    def _runtime(self, venv: Path, wheels: Path) -> None:
        mark = venv / ".complete"
        if not mark.exists():
            self.say("making the runtime")
            shutil.rmtree(venv, ignore_errors=True)
            # Debian's python3 has no ensurepip without another package: pip comes from its wheel.
            run(sys.executable, "-m", "venv", "--without-pip", str(venv))
            pip = next(iter(sorted(wheels.glob("pip-*.whl"))))
            python = str(venv / "bin/python")
            command = [python, f"{pip}/pip", "install", "--no-index", "--find-links", str(wheels), "--no-cache-dir"]
            run(*command, "--disable-pip-version-check", "--quiet", "edgegraft[board]")
            os.sync()
            write(mark, b"")
        self.command.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.command.with_name("edgegraft.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(venv / "bin/edgegraft")
        fresh.replace(self.command)

    def _service(self, venv: Path, options: dict[str, Any]) -> None:
        program = str(venv / "bin/edgegraft")
        named = [f"--name={options['name']}"] if options["name"] else []
        if (self.home / "root.json").exists():
            self.say("enrolling the trust root")
            # Each service of a board has its own.
            run(program, "trust", "enroll", *named, str(self.home / "root.json"))
        # "--again": a camera that was plugged in too late must not make the only bundle a bad one for ever.
        unsigned = ["--allow-unsigned"] if options["allow_unsigned"] else []
        arguments = [*self._options(options), *named, *unsigned, "--again"]
        self.say("installing the service")
        run(program, "service", "install", *arguments, str(self.home / "bundle.egb"))

    def _options(self, options: dict[str, Any]) -> list[str]:
        rules = self.home / "rules.toml"
        return [*options["service"], *([f"--rules={rules}"] if rules.exists() else [])]

    def _remember(self, options: dict[str, Any]) -> None:
        self.flashed.mkdir(mode=0o700, parents=True, exist_ok=True)
        asked = {"runtime": options["runtime"], "service": self._options(options), "rules": options["rules"]}
        write(self.flashed / f"asked-{options['name']}", json.dumps(asked).encode(), 0o600)

    def _report(self, card: Path) -> None:
        # Whoever puts the card into a computer sees what happened.
        try:
            shutil.copyfile(self.log, card / "first_boot.log")
            os.sync()
        except OSError as err:
            print(f"the card takes no log: {err}", file=sys.stderr)


def set_clock(earliest: float) -> None:
    """No board without a clock of its own is earlier than the card: signatures have dates."""
    if time.time() < earliest:
        time.clock_settime(time.CLOCK_REALTIME, earliest)


def run(*command: str) -> None:
    """Raises RuntimeError with the program's own last words."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} {command[1]}: {done.stdout.strip()[-2000:]} ({done.returncode})")


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Whole or not at all, and on the disk."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


if __name__ == "__main__":
    if sys.argv[1:] == ["enable"]:
        Board().enable(Path(__file__).resolve().parent)
    else:
        Board().work()
