"""pyinfra's way to a board: the system's ssh, as everywhere else here, instead of pyinfra's own SSH client.

pyinfra's takes unknown host keys by default, and does not heed ``HostKeyAlias`` or ``EDGEGRAFT_SSH``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host

from device.errors import EdgegraftError
from device.ssh import Connection

PREFIX = "@edgegraft/"


class SystemSsh(BaseConnector):
    """A host that is named ``@edgegraft/DESTINATION``."""

    handles_execution = True

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """One host."""
        yield f"{PREFIX}{name}", {}, []

    def connect(self) -> None:
        """Nothing yet: each script has a connection of its own, so that a host that is away holds up no other."""
        try:
            self._connection = Connection(self.host.name.removeprefix(PREFIX))
        except EdgegraftError as err:
            raise ConnectError(str(err)) from err

    def run_shell_command(
        self, command: StringCommand, print_output: bool, print_input: bool, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """See pyinfra's ``BaseConnector``."""
        good = arguments.pop("_success_exit_codes", None) or [0]
        for name in ("_timeout", "_get_pty", "_stdin"):
            if arguments.pop(name, None):
                raise NotImplementedError(f"{name} is not known to edgegraft's connector")
        line = make_unix_command_for_host(self.state, self.host, command, **arguments)
        answer = self._connection.run(line.get_raw_value())
        lines = [OutputLine("stdout", text) for text in answer.output.splitlines()]
        return answer.code in good, CommandOutput([*lines, OutputLine("stderr", answer.last)])

    def put_file(self, *_: Any, **__: Any) -> bool:
        """Files are sent by ``over_ssh.py``, which goes on where one was cut off."""
        raise NotImplementedError("edgegraft's connector sends no files for pyinfra")

    def get_file(self, *_: Any, **__: Any) -> bool:
        """See ``put_file``."""
        raise NotImplementedError("edgegraft's connector fetches no files for pyinfra")
