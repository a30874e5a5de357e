"""``edgegraft flash --inventory`` in waves: real systemds and SSH servers in network namespaces, one slow, one dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import DEAD, PROGRAM, Fleet, start_fleet
from tests.releases import version_of

pytestmark = pytest.mark.long

# Shorter, and no watchdog has been fed yet.
OPTIONS = ("--allow-unsigned", "--watch", "16")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    # The last has no runtime, and is behind a slow line.
    with start_fleet(tmp_path_factory.mktemp("fleet"), 3, shared=2) as fleet:
        fleet.throttle("b2", "1mbit")
        yield fleet


def inventory(path: Path, *boards: str, more: str = "") -> Path:
    listed = ", ".join(json.dumps(board) for board in boards)
    path.write_text(f'[group.all]\nboards = [{listed}]\ncamera = "scene:?fps=2"\nmax_fps = 2\n{more}')
    return path


def started(fleet: Fleet, name: str) -> str:
    return fleet.boards[name].show("edgegraft.service")["ExecMainStartTimestampMonotonic"]


def test_37_a_dead_and_a_slow_board_hold_up_no_other_and_again_changes_nothing(
    fleet: Fleet, colour_bundle: Path, tmp_path: Path
) -> None:
    bundle = version_of(colour_bundle, "1.0.0", tmp_path / "1.0.0.egb")
    boards = inventory(tmp_path / "boards.toml", DEAD, "b0", "b1", "b2", more='[board.b1]\nname = "gate"\n')
    dry = fleet.flash(bundle, "--inventory", boards, *OPTIONS, "--dry-run", "--json")
    assert dry.returncode == 23, dry.stderr
    assert [one["exit_code"] for one in json.loads(dry.stdout)["boards"]] == [1, 0, 0, 0]
    assert fleet.boards["b0"].run(["ls", "/var/lib/edgegraft-flash"]).returncode != 0
    done = fleet.flash(bundle, "--inventory", boards, *OPTIONS, "--timeout", "300", "--max-failed", "2")
    assert done.returncode == 23, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("dead: not reached over SSH (")
    assert lines[1:3] == ["b0: colours 1.0.0 is at work", "b1: colours 1.0.0 is at work"]
    assert lines[3].startswith("b2: not done in 300 s")
    assert "2 of 4 boards failed: dead, b2" in done.stderr
    # The first of the list is no canary: it is not there, and the next took its place.
    assert done.stderr.count("wave 1 of 2: 1 boards\n") == 2
    assert fleet.boards["b1"].show("edgegraft-gate.service")["ActiveState"] == "active"
    before = started(fleet, "b0")
    assert before != "0"
    again = fleet.flash(bundle, "--inventory", boards, *OPTIONS, "--timeout", "90", "--max-failed", "2", "--json")
    assert again.returncode == 23, again.stderr
    told = {one["board"]: one for one in json.loads(again.stdout)["boards"]}
    assert [told[name]["changed"] for name in ("b0", "b1")] == [False, False]
    assert [told[name]["wave"] for name in (DEAD, "b0", "b1")] == [1, 1, 2]
    assert started(fleet, "b0") == before


def test_39_a_board_with_another_host_key_is_refused_and_the_others_go_on(
    fleet: Fleet, colour_bundle: Path, tmp_path: Path
) -> None:
    bundle = version_of(colour_bundle, "2.0.0", tmp_path / "2.0.0.egb")
    other = tmp_path / "config"
    known = fleet.folder / "known_hosts"
    config = Path(fleet.command.rpartition(" ")[2])
    other.write_text(f"Host b1\n HostKeyAlias nobody\n StrictHostKeyChecking yes\n{config.read_text()}")
    before = known.read_text()
    command = f"{fleet.command.rpartition(' ')[0]} {other}"
    done = fleet.flash(
        bundle, "--inventory", inventory(tmp_path / "boards.toml", "b0", "b1"), *OPTIONS, "--json", command=command
    )
    assert done.returncode == 23, done.stderr
    one, two = json.loads(done.stdout)["boards"]
    assert (one["exit_code"], one["changed"], two["exit_code"]) == (0, True, 25)
    assert "not known here" in two["message"]
    assert known.read_text() == before
    assert fleet.version("b0") == "2.0.0"


def test_38_after_a_wave_that_fails_the_next_does_not_start(fleet: Fleet, colour_bundle: Path, tmp_path: Path) -> None:
    bundle = version_of(colour_bundle, "2.1.0", tmp_path / "2.1.0.egb")
    boards = inventory(tmp_path / "boards.toml", "b0", "b1", "b2", more='[board.b1]\nvariant = "none-such"\n')
    done = fleet.flash(bundle, "--inventory", boards, *OPTIONS, "--waves", "1,2,100%", "--max-failed", "2")
    assert done.returncode == 24, done.stderr
    good, bad, rest = done.stdout.splitlines()
    assert good == "b0: colours 2.1.0 is at work"
    assert bad.startswith("b1: colours-2.1.0: ")
    assert rest == "b2: not begun"
    assert "stopped in wave 2 of 3: 1 of 3 boards failed: b1; 1 were not begun" in done.stderr
    assert fleet.version("b0") == "2.1.0"


def test_interrupted_nothing_of_it_is_left_and_no_secret_was_to_be_seen(
    fleet: Fleet, colour_bundle: Path, tmp_path: Path
) -> None:
    bundle = version_of(colour_bundle, "3.0.0", tmp_path / "3.0.0.egb")
    boards = inventory(tmp_path / "boards.toml", "b0", "b2", more='sink = "mqtt://ada:TopSecret7@localhost/a"\n')
    command = [str(PROGRAM), "flash", str(bundle), "--inventory", str(boards), *OPTIONS, "--waves", "100%"]
    environment = {**fleet.environment(), "TMPDIR": str(tmp_path)}
    with (tmp_path / "words").open("wb") as words:
        child = subprocess.Popen(command, env=environment, stdout=words, stderr=words)
    try:
        until(lambda: "sending" in (tmp_path / "words").read_text(), "no wheels were sent")
        of_it = descendants(child.pid)
        assert sum("ssh" in line for line in of_it.values()) >= 1, of_it
        assert not any("TopSecret7" in line for line in of_it.values())
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
    finally:
        child.kill()
        child.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in of_it), f"left: {of_it}")
    assert "TopSecret7" not in (tmp_path / "words").read_text()
    assert [path.name for path in tmp_path.glob("tmp*")] == []


def until(holds: object, what: str, limit_s: float = 60.0) -> None:
    assert callable(holds)
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def descendants(pid: int) -> dict[int, str]:
    """Command lines of what a process has started, by their ids."""
    found = {}
    todo = [pid]
    while todo:
        for path in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            for each in map(int, path.read_text().split()):
                try:
                    found[each] = Path(f"/proc/{each}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                todo.append(each)
    return {each: line for each, line in found.items() if each != os.getpid()}
