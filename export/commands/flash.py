"""``edgegraft flash``: a bundle onto boards over SSH, or onto a card before its first boot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.commands.run import add_run_options
from export.flash.first_boot.options import add_card_options

if TYPE_CHECKING:
    from device.inventory import Board
    from export.flash.waves import Policy

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
    boards.add_argument("--inventory", type=Path, metavar="FILE", help="many boards, in TOML; see export/README.md")
    boards.add_argument(
        "--watch",
        type=float,
        default=40.0,
        metavar="SECONDS",
        help="for which a board watches it, then keeps it (40)",
    )
    waves = parser.add_argument_group("many boards that run")
    waves.add_argument(
        "--waves",
        metavar="1,10%,100%",
        help="boards begun when each wave is over (1,100%%; above 20 boards 1,10%%,50%%,100%%)",
    )
    waves.add_argument(
        "--max-failed",
        metavar="N|P%",
        help="more failures than this, and the next wave does not start (10%% of the boards begun, at least 1)",
    )
    waves.add_argument("--at-once", type=int, default=50, metavar="N", help="boards beside one another (50)")
    waves.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="for one board (1800)")
    add_card_options(parser)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json
    from export.flash.first_boot.options import flash_card, report

    if args.ssh or args.inventory:
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
    from device.releases.refusals import BoardsFailed, WaveStopped
    from export.flash.over_ssh import SshConfig
    from export.flash.waves import flash_boards

    if args.boot or args.image:
        raise UsageError("--ssh and --inventory are for boards that run, --boot and --image for cards; give one")
    config = SshConfig(args.bundle, "", args.trust, args.allow_unsigned, args.watch, args.dry_run)
    outcome = flash_boards(config, _boards(args), _policy(args), say)
    if args.json:
        emit_json(outcome)
    else:
        print("\n".join(one.line for one in outcome.boards))
        print("".join(f"{board}: not begun\n" for board in outcome.not_begun), end="")
    failed, total = outcome.failed, len(outcome.boards) + len(outcome.not_begun)
    if total == 1 or not failed:
        return outcome.boards[0].exit_code if failed else 0
    words = f"{len(failed)} of {total} boards failed: {', '.join(failed)}"
    if outcome.not_begun:
        wave = outcome.boards[-1].wave
        raise WaveStopped(
            f"stopped in wave {wave} of {len(outcome.waves)}: {words}; {len(outcome.not_begun)} were not begun; "
            f"what runs there runs on"
        )
    raise BoardsFailed(words)


def _boards(args: argparse.Namespace) -> list[Board]:
    from device.inventory import all_boards
    from export.flash.first_boot.options import run_options

    return all_boards(args.ssh, args.inventory, run_options(args))


def _policy(args: argparse.Namespace) -> Policy:
    from device.errors import UsageError
    from export.flash.waves import Policy, parse_share, parse_waves

    if args.at_once < 1:
        raise UsageError(f"--at-once is {args.at_once}, expected at least 1")
    if not 1 <= args.timeout <= 7 * 86_400:
        raise UsageError(f"--timeout is {args.timeout}, expected 1 second to a week")
    return Policy(
        parse_waves(args.waves) if args.waves else (),
        parse_share("--max-failed", args.max_failed) if args.max_failed else None,
        args.at_once,
        args.timeout,
    )
