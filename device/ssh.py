"""A board over the system's ``ssh``: its configuration, agents and known hosts hold.

``EDGEGRAFT_SSH`` names another program or adds options, e.g. ``ssh -F config``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.console import printable
from device.errors import RemoteError, UsageError
from device.releases.refusals import HostKeyRefused

# A board that is switched off half-way is noticed after a minute; nobody is there to be asked.
_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15")
_SSH_FAILED = 255
_ANSWER_LIMIT_BYTES = 1024 * 1024
# Login scripts may print; what counts comes after this line.
_MARK = "edgegraft-answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script on the board said: exit code, standard output, and the last line of standard error."""

    code: int
    output: str
    last: str


@dataclass(frozen=True, slots=True)
class Connection:
    """A board that is reached by this destination: ``user@host``, ``ssh://user@host:port`` or a configured name."""

    destination: str

    def __post_init__(self) -> None:
        if not self.destination or self.destination.startswith("-") or not self.destination.isprintable():
            shown = printable(self.destination)
            raise UsageError(f"--ssh '{shown}': expected user@host or a name from your SSH configuration")

    def run(self, script: str, *arguments: str, stdin: bytes | Path = b"", root: str = "") -> Answer:
        """Run a shell script there.

        Args:
            script: for ``sh``; ``arguments`` are ``$1`` and so on. Both can be seen by others there: no secrets.
            stdin: what the script reads; a large one as a file.
            root: how root is had: "sudo", or "" where it need not.

        Raises:
            HostKeyRefused: the board's host key is unknown, or not the one that is known.
            RemoteError: the board is not reached.
        """
        code, output, said = self._ask(script, arguments, stdin, root)
        _, _, text = output[:_ANSWER_LIMIT_BYTES].decode(errors="replace").partition(f"{_MARK}\n")
        return Answer(code, text, _last(said))

    def fetch(self, script: str, *arguments: str, stdin: bytes = b"", limit_bytes: int) -> bytes:
        """Run a script whose standard output is data; see ``run``.

        Raises:
            RemoteError: the script failed, or more than the limit came.
        """
        code, output, said = self._ask(script, arguments, stdin, "")
        _, mark, data = output.partition(f"{_MARK}\n".encode())
        if code or not mark or len(data) > limit_bytes:
            raise RemoteError(f"{self.destination}: it did not work there ({_last(said)}); try again")
        return data

    def _ask(self, script: str, arguments: Sequence[str], stdin: bytes | Path, root: str) -> tuple[int, bytes, str]:
        inner = ["sh", "-c", f"echo {_MARK}\n{script}", "sh", *arguments]
        remote = shlex.join([*(["sudo", "-n"] if root == "sudo" else []), *inner])
        command = [*shlex.split(os.environ.get("EDGEGRAFT_SSH", "ssh")), *_OPTIONS, "--", self.destination, remote]
        with ExitStack() as stack:
            given: dict[str, Any] = {"input": stdin}
            if isinstance(stdin, Path):
                given = {"stdin": stack.enter_context(stdin.open("rb"))}
            try:
                done = subprocess.run(command, **given, capture_output=True, check=False)
            except FileNotFoundError as err:
                raise RemoteError(f"{command[0]} is not installed here; install OpenSSH's client") from err
        said = done.stderr.decode(errors="replace")
        if done.returncode == _SSH_FAILED:
            raise self._unreached(said, _last(said))
        return done.returncode, done.stdout, said

    def _unreached(self, said: str, last: str) -> RemoteError | HostKeyRefused:
        if "IDENTIFICATION HAS CHANGED" in said:
            return HostKeyRefused(
                f"{self.destination}: its host key has changed: another machine answers, or it was set up anew; if you "
                f"know why, remove the old key (ssh-keygen -R HOST) and log in once by hand"
            )
        if "Host key verification failed" in said:
            return HostKeyRefused(
                f"{self.destination}: its host key is not known here; log in once by hand and compare it: ssh "
                f"{self.destination}"
            )
        return RemoteError(f"{self.destination}: not reached over SSH ({last}); try 'ssh {self.destination} true'")


def _last(said: str) -> str:
    return printable((said.strip().splitlines() or ["no word"])[-1])
