"""``edgegraft bench`` on another machine, over the system's ``ssh``: its configuration, agents and known hosts hold.

One connection does everything: the bundle goes in on standard input, the report comes back on standard output.
``EDGEGRAFT_SSH`` names another program or adds options, e.g. ``ssh -F config``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from device.bench import BenchReport
from device.bundle import open_bundle
from device.console import printable
from device.errors import RemoteError, UsageError

PROGRAM = "edgegraft"

_ANSWER_LIMIT_BYTES = 4 * 1024 * 1024
# A board that is switched off half-way is noticed after a minute.
_OPTIONS = ("-T", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
_NO_PROGRAM, _NO_SPACE, _SSH_FAILED = 97, 98, 255
# Login scripts may print; what counts comes after this line.
_MARK = "edgegraft-report"
# The folder goes whatever happens, also when the connection breaks.
_SCRIPT = f"""\
program=$1 name=$2; shift 2
case $program in "~/"*) program=$HOME/${{program#"~/"}} ;; esac
command -v "$program" >/dev/null || exit {_NO_PROGRAM}
folder=$(mktemp -d) || exit {_NO_SPACE}
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' HUP INT TERM PIPE
cat >"$folder/$name" || exit {_NO_SPACE}
echo {_MARK}
"$program" bench "$folder/$name" --json "$@" </dev/null
"""


@dataclass(frozen=True, slots=True)
class Board:
    """Another machine.

    Attributes:
        destination: as ``ssh`` takes it: ``user@host``, ``ssh://user@host:port`` or a name from its configuration.
        program: edgegraft there, where it is not on the PATH.
    """

    destination: str
    program: str = PROGRAM

    def __post_init__(self) -> None:
        if not self.destination or self.destination.startswith("-") or not self.destination.isprintable():
            raise UsageError(f"--on '{self.destination}': expected user@host or a name from your SSH configuration")


def bench_on(
    board: Board, path: Path, runs: int, threads: int | None = None, on_line: Callable[[str], None] = lambda line: None
) -> BenchReport:
    """Send a bundle to a board, measure its variants there and fetch the report; nothing stays on the board.

    Args:
        board: has edgegraft installed.
        path: the ``.egb`` file.
        runs: classifications per variant, after a warm-up.
        threads: of the runtimes; by default up to four cores.
        on_line: called with every line that the board says meanwhile.

    Raises:
        BundleError, ContractError: the bundle is not intact.
        RemoteError: the board is not reached, lacks edgegraft or space, or gives no report.
    """
    with open_bundle(path) as bundle:
        name = bundle.manifest.name
    options = ["--runs", str(runs), *(["--threads", str(threads)] if threads else [])]
    remote = shlex.join(["sh", "-c", _SCRIPT, "sh", board.program, f"{name}.egb", *options])
    code, output, last = _ssh(board, remote, path, on_line)
    _, mark, answer = output.partition(f"{_MARK}\n".encode())
    if code in _FAILURES:
        raise RemoteError(_FAILURES[code].format(destination=board.destination, program=board.program, last=last))
    try:
        return msgspec.convert(_clean(msgspec.json.decode(answer)), BenchReport)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as err:
        if not mark or not answer.strip():
            raise RemoteError(
                f"{board.destination}: no report, it ended with code {code} ({last or 'no word'})"
            ) from err
        raise RemoteError(
            f"{board.destination}: its report cannot be read ({err}); both machines need the same edgegraft"
        ) from err


_FAILURES = {
    _SSH_FAILED: "{destination}: not reached over SSH ({last}); try 'ssh {destination} true'",
    _NO_PROGRAM: "{destination}: there is no '{program}'; install edgegraft there, or say where it is with "
    "--remote-program, e.g. --remote-program '~/edgegraft/.venv/bin/edgegraft'",
    _NO_SPACE: "{destination}: the bundle could not be stored there ({last}); free some space in its temporary folder",
}


def _ssh(board: Board, remote: str, path: Path, on_line: Callable[[str], None]) -> tuple[int, bytes, str]:
    command = [*shlex.split(os.environ.get("EDGEGRAFT_SSH", "ssh")), *_OPTIONS, "--", board.destination, remote]
    said: list[str] = []

    def listen(stream: IO[bytes]) -> None:
        for line in stream:
            text = printable(line.decode(errors="replace").strip())
            said[:] = [text or said[-1]] if said else [text]
            on_line(text)

    with path.open("rb") as bundle:
        try:
            child = subprocess.Popen(command, stdin=bundle, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError as err:
            raise RemoteError(f"{command[0]} is not installed here; install OpenSSH's client") from err
    assert child.stdout is not None
    assert child.stderr is not None
    listener = threading.Thread(target=listen, args=(child.stderr,), daemon=True)
    listener.start()
    try:
        output = child.stdout.read(_ANSWER_LIMIT_BYTES + 1)
        if len(output) > _ANSWER_LIMIT_BYTES:
            raise RemoteError(f"{board.destination}: more than {_ANSWER_LIMIT_BYTES} bytes came, that is no report")
        code = child.wait()
        listener.join()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    return code, output, said[-1] if said else ""


def _clean(value: Any) -> Any:
    """The same with every text fit for a terminal."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(one) for key, one in value.items()}
    return [_clean(one) for one in value] if isinstance(value, list) else value
