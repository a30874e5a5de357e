"""One board down: the others go on, and summary and exit code say so. More of it in e2e/test_flash_waves.py."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ssh_server import SshServer, start_ssh_server

Run = Callable[..., subprocess.CompletedProcess[str]]

# It answers, and is a board that no bundle can be put on: nothing is done to this machine.
ANSWER = r"printf 'edgegraft-answer\nmachine=armv7l\n'"
DOWN = "ssh://nobody@127.0.0.1:1"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    folder = tmp_path / "ssh"
    folder.mkdir()
    server = start_ssh_server(folder, forced=ANSWER, names=("old-1", "old-2"))
    monkeypatch.setenv("EDGEGRAFT_SSH", server.command)
    yield server
    server.stop()


def test_one_board_down_the_others_are_asked_all_the_same(
    server: SshServer, edgegraft: Run, colour_bundle: Path, tmp_path: Path
) -> None:
    boards = tmp_path / "boards.toml"
    boards.write_text(f'[group.all]\nboards = ["old-1", "{DOWN}", "old-2"]\n')
    options = ("--allow-unsigned", "--inventory", boards, "--waves", "100%")
    done = edgegraft("flash", colour_bundle, *options)
    assert done.returncode == 23, done.stderr
    first, down, second = done.stdout.splitlines()
    assert first == "old-1: 'armv7l' has no wheels of LiteRT; a 64-bit system is needed (uname -m: aarch64)"
    assert down.startswith(f"{DOWN}: not reached over SSH (")
    assert second.startswith("old-2: 'armv7l' has no wheels")
    assert f"3 of 3 boards failed: old-1, {DOWN}, old-2" in done.stderr
    told = json.loads(edgegraft("flash", colour_bundle, *options, "--json").stdout)
    assert [(one["exit_code"], one["reached"], one["wave"]) for one in told["boards"]] == [
        (15, True, 1),
        (1, False, 1),
        (15, True, 1),
    ]
    assert (told["waves"], told["not_begun"]) == ([3], [])


def test_one_board_alone_ends_with_its_own_code(server: SshServer, edgegraft: Run, colour_bundle: Path) -> None:
    done = edgegraft("flash", colour_bundle, "--allow-unsigned", "--ssh", "old-1")
    assert (done.returncode, done.stderr) == (15, "")
    assert done.stdout.startswith("old-1: 'armv7l'")


def test_a_board_that_never_answers_has_a_limit(edgegraft: Run, colour_bundle: Path, tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    mute.write_text(f"#!/bin/sh\necho $$ >>{tmp_path}/pids\nexec sleep 1000\n")
    mute.chmod(0o755)
    shell = f'EDGEGRAFT_SSH={mute} "$@"'
    # A canary each: neither says anything of the bundle.
    options = ("--allow-unsigned", "--ssh", "a", "--ssh", "b", "--max-failed", "2", "--timeout", "3")
    done = edgegraft("flash", colour_bundle, *options, shell=shell)
    assert done.returncode == 23, done.stderr
    assert [line.partition(";")[0] for line in done.stdout.splitlines()] == ["a: not done in 3 s", "b: not done in 3 s"]
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_board_twice_is_refused_before_anything(edgegraft: Run, colour_bundle: Path) -> None:
    done = edgegraft("flash", colour_bundle, "--allow-unsigned", "--ssh", "a", "--ssh", "a")
    assert (done.returncode, done.stdout) == (2, "")
    assert "a is given twice" in done.stderr
    assert os.linesep not in done.stderr.strip()
