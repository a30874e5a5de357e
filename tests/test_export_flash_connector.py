"""pyinfra over the system's ssh, against a real OpenSSH server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State

from device.releases.refusals import HostKeyRefused
from export.flash.connector import PREFIX
from tests.ssh_server import SshServer, start_ssh_server

QUIET = {"print_output": False, "print_input": False}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    server = start_ssh_server(tmp_path)
    monkeypatch.setenv("EDGEGRAFT_SSH", server.command)
    yield server
    server.stop()


def connected(name: str) -> Host:
    state = State(Inventory(([f"{PREFIX}{name}"], {})), Config())
    connect_all(state)
    (host,) = state.inventory
    assert isinstance(host, Host)
    return host


def test_a_command_there(server: SshServer) -> None:
    host = connected("board")
    well, output = host.run_shell_command(StringCommand("echo 'a b'; echo c >&2"), **QUIET, _env={"A": "1"})
    assert (well, output.stdout_lines, output.stderr_lines) == (True, ["a b"], ["c"])
    assert host.run_shell_command(StringCommand("exit 3"), **QUIET)[0] is False
    assert host.run_shell_command(StringCommand("exit 3"), **QUIET, _success_exit_codes=[3])[0] is True
    with pytest.raises(NotImplementedError, match="_stdin"):
        host.run_shell_command(StringCommand("cat"), **QUIET, _stdin="x")


def test_an_unknown_host_key_is_refused_and_not_written_down(server: SshServer, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    with pytest.raises(HostKeyRefused, match="not known here"):
        connected("board").run_shell_command(StringCommand("true"), **QUIET)
    assert known.read_text() == ""


def test_what_is_no_destination_is_not_connected_to() -> None:
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        connected("-oProxyCommand=x")
