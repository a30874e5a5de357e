"""``edgegraft flash``: a bundle onto boards over SSH, or onto a card before its first boot."""

from __future__ import annotations

import argparse
from pathlib import Path

from device.commands.run import add_run_options
from export.flash.first_boot.options import add_card_options

SUMMARY = "put a bundle on boards: over SSH, or onto a card before the first boot"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("bundle", type=Path, metavar="B.egb", help="the bundle that 'edgegraft export' wrote")
    add_run_options(parser)
    # A board that has its service keeps its options.
    next(action for action in parser._actions if action.dest == "camera").required = False
    parser.add_argument("--name", metavar="UNIT", help="to tell several services of a board apart")
    parser.add_argument("--trust", type=Path, metavar="ROOT.json", help="root of trust that the board gets")
    parser.add_argument("--allow-unsigned", action="store_true", help="let the board run a bundle without a signature")
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    boards = parser.add_argument_group("boards that run")
    boards.add_argument("--ssh", action="append", default=[], metavar="USER@HOST", help="may be repeated")
    boards.add_argument(
        "--watch",
        type=float,
        default=40.0,
        metavar="SECONDS",
        help="for which a board watches it, then keeps it (40)",
    )
    add_card_options(parser)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json
    from export.flash.first_boot.options import flash_card, report

    if args.ssh:
        return _over_ssh(args)
    prepared = flash_card(args)
    if args.json:
        emit_json(prepared)
    else:
        print(report(prepared))
    return 0


def _over_ssh(args: argparse.Namespace) -> int:
    from device.console import emit_json, say
    from device.errors import UsageError
    from device.releases.refusals import BoardsFailed
    from device.service import unit_name
    from export.flash.first_boot.options import service_options
    from export.flash.over_ssh import SshConfig, flash_boards

    if args.boot or args.image:
        raise UsageError("--ssh is for boards that run, --boot and --image for cards; give one of them")
    if args.name:
        unit_name(args.name)
    service = service_options(args)
    config = SshConfig(
        args.bundle, service, args.name or "", args.rules, args.trust, args.allow_unsigned, args.watch, args.dry_run
    )
    boards = flash_boards(config, args.ssh, say)
    if args.json:
        emit_json({"boards": boards})
    else:
        print("\n".join(f"{one.board}: {one.message.removeprefix(f'{one.board}: ')}" for one in boards))
    failed = [one for one in boards if one.exit_code]
    if len(boards) == 1 or not failed:
        return failed[0].exit_code if failed else 0
    raise BoardsFailed(f"{len(failed)} of {len(boards)} boards failed: {', '.join(one.board for one in failed)}")
