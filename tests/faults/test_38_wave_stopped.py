"""Failures above the threshold: the next wave does not start. More of it in e2e/test_flash_waves.py."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.test_37_board_down import ANSWER, DOWN
from tests.ssh_server import SshServer, start_ssh_server

Run = Callable[..., subprocess.CompletedProcess[str]]

NAMES = ("old-1", "old-2", "old-3", "old-4")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A line a session, on a server of boards that answer and cannot take a bundle."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    log = folder / "asked"
    log.touch()
    server: SshServer = start_ssh_server(folder, forced=f"{ANSWER}; echo >>{log}", names=NAMES)
    monkeypatch.setenv("EDGEGRAFT_SSH", server.command)
    yield log
    server.stop()


def test_a_canary_that_fails_stops_it(asked: Path, edgegraft: Run, colour_bundle: Path) -> None:
    boards = [part for name in NAMES for part in ("--ssh", name)]
    done = edgegraft("flash", colour_bundle, "--allow-unsigned", *boards)
    assert done.returncode == 24, done.stderr
    assert done.stdout.splitlines()[1:] == [f"{name}: not begun" for name in NAMES[1:]]
    assert "stopped in wave 1 of 2: 1 of 4 boards failed: old-1; 3 were not begun" in done.stderr
    assert asked.read_text().count("\n") == 1
    told = json.loads(edgegraft("flash", colour_bundle, "--allow-unsigned", *boards, "--json").stdout)
    assert told["not_begun"] == list(NAMES[1:])
    assert [(one["board"], one["wave"]) for one in told["boards"]] == [("old-1", 1)]


@pytest.mark.parametrize(("limit", "begun"), [("0", 1), ("1", 2), ("60%", 1)])
def test_more_away_than_are_borne(
    asked: Path, edgegraft: Run, colour_bundle: Path, tmp_path: Path, limit: str, begun: int
) -> None:
    boards = tmp_path / "boards.toml"
    away = ", ".join(json.dumps(DOWN.replace(":1", f":{port}")) for port in (1, 2, 3))
    boards.write_text(f'[group.all]\nboards = [{away}, "old-1"]\n')
    options = ("--allow-unsigned", "--inventory", boards, "--max-failed", limit, "--json")
    done = edgegraft("flash", colour_bundle, *options)
    assert done.returncode == 24, done.stderr
    told = json.loads(done.stdout)
    assert len(told["boards"]) == begun
    assert told["not_begun"][-1] == "old-1"
    assert asked.read_text() == ""
