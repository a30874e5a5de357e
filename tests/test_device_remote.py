"""``edgegraft bench --on``: through a real OpenSSH server, to an edgegraft on its other side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ssh_server import SshServer, start_ssh_server

PROGRAM = Path(sys.executable).with_name("edgegraft")

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    server = start_ssh_server(tmp_path_factory.mktemp("ssh"))
    yield server
    server.stop()


@pytest.fixture
def bench(server: SshServer, colour_bundle: Path, tmp_path: Path) -> Bench:
    def run(*options: str, destination: str = server.destination, **environment: str) -> object:
        command = [PROGRAM, "bench", colour_bundle, "--on", destination, "--runs", "3", *options]
        around = {**os.environ, "EDGEGRAFT_SSH": server.command, **environment}
        return subprocess.run(
            command, cwd=tmp_path, env=around, capture_output=True, text=True, timeout=300, check=False
        )

    return run  # type: ignore[return-value]


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """The refusal: the last line on standard error, none on standard output, no trace."""
    assert (result.returncode, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


def test_the_same_report_comes_back_as_json(bench: Bench, colour_models: dict[str, bytes]) -> None:
    result = bench("--remote-program", str(PROGRAM), "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert [one["variant"] for one in report["results"]] == list(colour_models)
    assert report["chosen"] in colour_models
    assert all(one["latency_ms"]["p50"] > 0 for one in report["results"])
    assert "measuring onnx-float32 ..." in result.stderr


def test_a_person_sees_the_table_of_the_board(bench: Bench) -> None:
    result = bench("--remote-program", str(PROGRAM), "--threads", "1")
    assert result.returncode == 0, result.stderr
    assert "chosen: " in result.stdout
    assert "the fastest of those that are right" in result.stdout


def test_nothing_stays_on_the_board(bench: Bench, tmp_path: Path) -> None:
    seen = program(tmp_path / "edgegraft", f'echo "$2" >{tmp_path}/seen; exec {PROGRAM} "$@"')
    result = bench("--remote-program", seen, "--json")
    assert result.returncode == 0, result.stderr
    folder = Path((tmp_path / "seen").read_text().strip()).parent
    assert folder.is_absolute()
    assert not folder.exists()


def test_a_board_without_edgegraft_is_told_what_to_do(bench: Bench) -> None:
    line = one_line(bench("--remote-program", "~/no/such/edgegraft"))
    assert "board: there is no '~/no/such/edgegraft'; install edgegraft there" in line
    assert "--remote-program" in line


def test_a_changed_host_key_stops(bench: Bench, server: SshServer) -> None:
    known = server.config.parent / "known_hosts"
    kept = known.read_text()
    other = server.config.parent / "other"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)]
    subprocess.run(keygen, check=True)
    known.write_text(f"board {other.with_suffix('.pub').read_text()}")
    try:
        result = bench("--remote-program", str(PROGRAM))
    finally:
        known.write_text(kept)
    assert "board: not reached over SSH (Host key verification failed.)" in one_line(result)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in result.stderr


def test_a_board_that_is_not_there_is_named(bench: Bench) -> None:
    line = one_line(bench(destination="nobody@127.0.0.1:1", EDGEGRAFT_SSH="ssh -o BatchMode=yes"))
    assert line.startswith("edgegraft bench: nobody@127.0.0.1:1: not reached over SSH (")


@pytest.mark.parametrize("destination", ["-oProxyCommand=touch pwned", "", "a\nb"])
def test_what_is_no_destination_is_misuse(bench: Bench, destination: str, tmp_path: Path) -> None:
    result = bench(f"--on={destination}")
    assert result.returncode == 2
    assert "expected user@host" in result.stderr
    assert not (tmp_path / "pwned").exists()


def test_what_a_login_script_prints_is_no_report_and_escapes_reach_no_terminal(bench: Bench, tmp_path: Path) -> None:
    text = """printf '\\033]0;owned\\007hello\\n' >&2; printf '{"bundle": "\\\\u001b[2J"}'"""
    result = bench("--remote-program", program(tmp_path / "edgegraft", text))
    line = one_line(result)
    assert "its report cannot be read" in line
    assert "both machines need the same edgegraft" in line
    assert "hello" in result.stderr
    assert "\x1b" not in result.stderr


def test_a_board_whose_edgegraft_fails_passes_its_reason_on(bench: Bench, tmp_path: Path) -> None:
    text = "echo 'edgegraft bench: manifest.json has schema 9' >&2; exit 1"
    line = one_line(bench("--remote-program", program(tmp_path / "edgegraft", text)))
    assert "no report, it ended with code 1 (edgegraft bench: manifest.json has schema 9)" in line


def test_a_flood_is_cut_off(bench: Bench, tmp_path: Path) -> None:
    line = one_line(bench("--remote-program", program(tmp_path / "edgegraft", "yes")))
    assert "that is no report" in line


def test_a_board_without_space_is_told(bench: Bench, tmp_path: Path) -> None:
    full = start_ssh_server(tmp_path, file_limit_bytes=1000)
    try:
        result = bench("--remote-program", str(PROGRAM), EDGEGRAFT_SSH=full.command)
    finally:
        full.stop()
    assert "board: the bundle could not be stored there" in one_line(result)


def test_an_ssh_that_is_not_installed_is_said(bench: Bench) -> None:
    assert "no-such-ssh is not installed here" in one_line(bench(EDGEGRAFT_SSH="no-such-ssh -F x"))
