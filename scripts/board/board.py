"""What can be learned of the board over SSH, and what must be true of it after any fault."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

from board.machine import BoardError, Machine
from board.workstation import HOST, Workstation

ANSWERS = "/var/lib/edgegraft/edgegraft/answers.jsonl"
_CURRENT = "/var/lib/edgegraft-releases/edgegraft/current"
_BOOT_LIMIT_S = 900.0
_READY_LIMIT_S = 900.0
_ANSWER_LIMIT_S = 240.0
# What a core does in a second, for a scale: pure Python, as most of a start is.
_WORK = "import time; t = time.perf_counter(); sum(i * i for i in range(2000000)); print(time.perf_counter() - t)"


@dataclass(frozen=True, slots=True)
class State:
    """The board, as ``edgegraft status`` tells it; ``text`` is the service's own word."""

    healthy: bool
    version: str
    signed: bool
    bad: tuple[str, ...]
    under_way: bool
    restarts: int
    text: str


class Board:
    """Looked at from the workstation.

    Args:
        machine: the board.
        workstation: from where.
    """

    def __init__(self, machine: Machine, workstation: Workstation) -> None:
        self.machine = machine
        self.workstation = workstation

    def reachable(self, limit_s: float = _BOOT_LIMIT_S) -> None:
        """Wait for its SSH server.

        Raises:
            BoardError: it does not come.
        """
        end = time.monotonic() + limit_s
        while self.workstation.ssh("true", 60).returncode:
            self.machine.require_on()
            if time.monotonic() > end:
                raise BoardError(f"not reached over SSH within {limit_s:.0f} s\n{self.machine.last_lines()}")
            time.sleep(1)

    def state(self) -> State | None:
        """What it says now; None where it does not."""
        done = self.workstation.type("status", "--ssh", HOST, "--json")
        try:
            (report,) = json.loads(done.output)["boards"].values()
        except (ValueError, KeyError):
            return None
        return _state(report) if report else None

    def working(self, *versions: str, written: bool = True, limit_s: float = _READY_LIMIT_S) -> State:
        """Wait until a release of one of these versions is at work: verified, nothing under way, answering.

        Args:
            versions: that are right.
            written: answers must also reach the disk.
            limit_s: to wait.

        Raises:
            BoardError: something else is there, or it does not come.
        """
        end = time.monotonic() + limit_s
        while True:
            state = self.state()
            if state is not None and state.healthy and state.signed and not state.under_way:
                break
            self.machine.require_on()
            if time.monotonic() > end:
                raise BoardError(f"not at work within {limit_s:.0f} s: {state}\n{self.machine.last_lines()}")
            time.sleep(5)  # each look costs seconds of an emulated processor
        if state.version not in versions:
            raise BoardError(f"{state.version} is at work, expected {' or '.join(versions)}")
        self._require_whole(state.version)
        if written:
            self._require_answers()
        return state

    def answer_times(self, since: float = 0.0) -> list[float]:
        """When each of the last frames was captured, on the board's clock."""
        text = self.workstation.ssh(f"sudo tail -n 6000 {ANSWERS} | grep -ao '\"captured_at\":[0-9.]*'").stdout
        return [each for each in map(float, re.findall(r":([0-9.]+)", text)) if each >= since]

    def longest_gap(self, since: float) -> float:
        """Between two answers since then, in seconds."""
        times = self.answer_times(since)
        return max((after - before for before, after in pairwise(times)), default=float("inf"))

    def clock(self) -> float:
        """The board's."""
        return float(self.workstation.ssh("date +%s.%N").stdout)

    def slowness(self) -> float:
        """How many times longer a piece of work takes there than here."""
        here = [float(subprocess.check_output([sys.executable, "-c", _WORK])) for _ in range(5)]
        there = [float(self.workstation.ssh(f'python3 -c "{_WORK}"').stdout) for _ in range(5)]
        return statistics.median(there) / statistics.median(here)

    def sudo(self, script: str) -> str:
        """Raises BoardError where it fails."""
        done = self.workstation.ssh(f"sudo sh -c '{script}'")
        if done.returncode:
            raise BoardError(f"{script}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def _require_whole(self, version: str) -> None:
        path = self.workstation.bundle(version)
        there = self.sudo(f"sha256sum {_CURRENT}/bundle.egb").split()[0]
        if there != sha256(path.read_bytes()).hexdigest():
            raise BoardError(f"the bundle of {version} on the board is not the one that was signed")

    def _require_answers(self) -> None:
        end = time.monotonic() + _ANSWER_LIMIT_S
        begin = self.clock()
        while not self.answer_times(begin):
            if time.monotonic() > end:
                late = f"no answer came within {_ANSWER_LIMIT_S:.0f} s"
                raise BoardError(f"it says that it works, but {late}\n{self.machine.last_lines()}")
            time.sleep(1)


def _state(report: dict[str, Any]) -> State:
    current = report["current"] or {"version": "", "signed": False}
    service = report["service"]
    return State(
        healthy=report["healthy"],
        version=current["version"],
        signed=current["signed"],
        bad=tuple(one["version"] for one in report["bad"]),
        under_way=report["under_way"] is not None,
        restarts=service["restarts"],
        text=service["text"],
    )


def host_keys(console: str) -> list[str]:
    """That the board showed on its console: nobody but who sits before it can have written them.

    Raises:
        BoardError: none.
    """
    found = re.search(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", console, re.DOTALL)
    keys = re.findall(r"((?:ssh|ecdsa)-\S+ [A-Za-z0-9+/=]+)", found[1]) if found else []
    if not keys:
        raise BoardError("the console shows no host keys; is cloud-init at work?")
    return keys
