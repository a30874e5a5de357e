"""A board command said from afar: the same words, on each board over SSH."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from device.errors import EdgegraftError
from device.releases.refusals import BoardsFailed
from device.ssh import Answer, Connection

if TYPE_CHECKING:
    from device.inventory import Board

# Where 'edgegraft flash' puts it, and then wherever the login finds it.
_SCRIPT = """\
program=/usr/local/bin/edgegraft
[ -x "$program" ] || program=edgegraft
[ "$(id -u)" = 0 ] || ! sudo -n true 2>/dev/null || exec sudo -n "$program" "$@"
exec "$program" "$@"
"""
_AT_ONCE = 16
_Done = TypeVar("_Done")


def add_ssh_options(parser: argparse.ArgumentParser) -> None:
    """``--ssh``, which may be repeated, and ``--inventory``."""
    parser.add_argument("--ssh", action="append", default=[], metavar="USER@HOST", help="on that board; repeatable")
    parser.add_argument(
        "--inventory", type=Path, metavar="boards.toml", help="on the boards of this file, as of 'edgegraft flash'"
    )


def chosen_boards(args: argparse.Namespace) -> list[Board]:
    """Those of ``--ssh`` and ``--inventory``, with the service's name that each has; ``--name`` is for all others.

    Raises:
        UsageError: a destination that cannot be one, or one that is there twice.
        InventoryError: the file cannot be understood.
    """
    from device.inventory import all_boards, require_distinct

    boards = all_boards(args.ssh, args.inventory, {"name": args.name})
    require_distinct(boards)
    return boards


def at_each(boards: Sequence[Board], work: Callable[[Board], _Done]) -> Iterator[tuple[Board, _Done | EdgegraftError]]:
    """Work on some boards beside one another; what came of it in their order. One that fails holds up no other.

    Raises:
        EdgegraftError: of the only board.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for board, future in [(board, pool.submit(work, board)) for board in boards]:
            try:
                yield board, future.result()
            except EdgegraftError as err:
                if len(boards) == 1:
                    raise
                yield board, err


def on_boards(args: argparse.Namespace, command: list[str], show: Callable[[str, Answer], None]) -> int:
    """Say it to every board.

    Args:
        args: with ``ssh``, ``inventory``, ``name``, ``user``.
        command: without those.
        show: takes the board and what it answered.

    Returns:
        The exit code: that of one board, or 0 where all are well.

    Raises:
        BoardsFailed: some of several are not.
        EdgegraftError: the only one is not reached.
    """
    from device.console import say

    def ask(board: Board) -> Answer:
        named = [f"--name={board.unit}"] if board.unit else []
        return Connection(board.destination).run(_SCRIPT, *command, *named, *(["--user"] if args.user else []))

    codes: list[int] = []
    for board, answer in at_each(chosen_boards(args), ask):
        if isinstance(answer, EdgegraftError):
            say(str(answer))
            codes.append(answer.exit_code)
        else:
            show(board.destination, answer)
            codes.append(answer.code)
    if len(codes) > 1 and any(codes):
        raise BoardsFailed(f"{sum(map(bool, codes))} of {len(codes)} boards are not well")
    return codes[0] if len(codes) == 1 else 0
