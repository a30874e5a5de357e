"""``edgegraft collect``: the photos that boards kept, back for labelling."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "fetch the photos that a board kept, for labelling and the next training"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("--ssh", action="append", required=True, metavar="USER@HOST", help="may be repeated")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DATA/_inbox", help="a folder per board is made in it"
    )
    parser.add_argument("--remove", action="store_true", help="on the board, what has arrived here safely")
    parser.add_argument("--name", metavar="NAME", help="of the service, where a board has several")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json, say
    from device.errors import EdgegraftError
    from device.releases.refusals import BoardsFailed
    from export.flash.collect import collect

    done, failed = [], []
    for board in args.ssh:
        try:
            done.append(collect(board, args.out, args.name, say, args.remove))
        except EdgegraftError as err:
            if len(args.ssh) == 1:
                raise
            say(str(err))
            failed.append(board)
    if args.json:
        emit_json({"boards": done})
    else:
        for one in done:
            left_out = f", {len(one.left_out)} left out" if one.left_out else ""
            removed = f", {one.removed} removed on the board" if args.remove else ""
            print(f"{one.board}: {one.fetched} new in {one.folder}, {one.there} were there{removed}{left_out}")
    if failed:
        raise BoardsFailed(f"{len(failed)} of {len(args.ssh)} boards failed: {', '.join(failed)}")
    return 0
