"""A board command said from afar: the same words, on each board over SSH."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from device.errors import EdgegraftError
from device.releases.refusals import BoardsFailed
from device.ssh import Answer, Connection

# Where 'edgegraft flash' puts it, and then wherever the login finds it.
_SCRIPT = """\
program=/usr/local/bin/edgegraft
[ -x "$program" ] || program=edgegraft
[ "$(id -u)" = 0 ] || ! sudo -n true 2>/dev/null || exec sudo -n "$program" "$@"
exec "$program" "$@"
"""


def add_ssh_option(parser: argparse.ArgumentParser) -> None:
    """``--ssh``, which may be repeated."""
    parser.add_argument("--ssh", action="append", default=[], metavar="USER@HOST", help="on that board; repeatable")


def on_boards(args: argparse.Namespace, command: list[str], show: Callable[[str, Answer], None]) -> int:
    """Say it to every board, one after the other; one that fails does not hold up the next.

    Args:
        args: with ``ssh``, ``name``, ``user``.
        command: without those.
        show: takes the board and what it answered.

    Returns:
        The exit code: that of one board, or 0 where all are well.

    Raises:
        BoardsFailed: some of several are not.
        EdgegraftError: the only one is not reached.
    """
    from device.console import say

    words = [*command, *([f"--name={args.name}"] if args.name else []), *(["--user"] if args.user else [])]
    codes: list[int] = []
    for board in args.ssh:
        try:
            answer = Connection(board).run(_SCRIPT, *words)
        except EdgegraftError as err:
            if len(args.ssh) == 1:
                raise
            say(str(err))
            codes.append(err.exit_code)
            continue
        show(board, answer)
        codes.append(answer.code)
    if len(codes) > 1 and any(codes):
        raise BoardsFailed(f"{sum(map(bool, codes))} of {len(codes)} boards are not well")
    return codes[0] if len(codes) == 1 else 0
