"""``edgegraft collect``: the photos that boards kept, back for labelling."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.commands.over_ssh import add_ssh_options

if TYPE_CHECKING:
    from device.inventory import Board

SUMMARY = "fetch the photos that a board kept, for labelling and the next training"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    add_ssh_options(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DATA/_inbox", help="a folder per board is made in it"
    )
    parser.add_argument("--remove", action="store_true", help="on the board, what has arrived here safely")
    parser.add_argument("--name", metavar="NAME", help="of the service, where a board has several")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.commands.over_ssh import at_each, chosen_boards
    from device.console import emit_json, say
    from device.errors import EdgegraftError, UsageError
    from device.releases.refusals import BoardsFailed
    from export.flash.collect import Collected, collect

    if not args.ssh and not args.inventory:
        raise UsageError("from which board? --ssh USER@HOST, or --inventory boards.toml")

    def fetch(board: Board) -> Collected:
        return collect(board.destination, args.out, board.unit or None, say, args.remove)

    done: list[Collected] = []
    failed: list[str] = []
    boards = chosen_boards(args)
    for board, found in at_each(boards, fetch):
        if isinstance(found, EdgegraftError):
            say(str(found))
            failed.append(board.destination)
        else:
            done.append(found)
    if args.json:
        emit_json({"boards": done})
    else:
        for one in done:
            left_out = f", {len(one.left_out)} left out" if one.left_out else ""
            removed = f", {one.removed} removed on the board" if args.remove else ""
            print(f"{one.board}: {one.fetched} new in {one.folder}, {one.there} were there{removed}{left_out}")
    if failed:
        raise BoardsFailed(f"{len(failed)} of {len(boards)} boards failed: {', '.join(failed)}")
    return 0
