"""``edgegraft flash``: a bundle onto a card before its first boot."""

from __future__ import annotations

import argparse
from pathlib import Path

from device.commands.run import add_run_options
from export.flash.first_boot.options import add_card_options

SUMMARY = "put a bundle on boards: a card before its first boot"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("bundle", type=Path, metavar="B.egb", help="the bundle that 'edgegraft export' wrote")
    add_run_options(parser)
    parser.add_argument("--name", metavar="UNIT", help="to tell several services of a board apart")
    parser.add_argument("--trust", type=Path, metavar="ROOT.json", help="root of trust that the board gets")
    parser.add_argument("--allow-unsigned", action="store_true", help="let the board run a bundle without a signature")
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    add_card_options(parser)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json
    from export.flash.first_boot.options import flash_card, report

    prepared = flash_card(args)
    if args.json:
        emit_json(prepared)
    else:
        print(report(prepared))
    return 0
