"""``edgegraft rollback``: back to the release before."""

from __future__ import annotations

import argparse

from device.commands.over_ssh import add_ssh_options

SUMMARY = "put the release before the current one back to work"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("--name", metavar="NAME", help="of the service, where a board has several")
    parser.add_argument("--user", action="store_true", help="this user's own service")
    parser.add_argument("--reason", default="rolled back by hand", metavar="TEXT", help="to be told by 'status'")
    add_ssh_options(parser)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.ssh or args.inventory:
        return _of_boards(args)
    from device.console import emit_json, say
    from device.releases.local import installer_for, service_for
    from device.releases.renewal import settle
    from device.service import Places, unit_name
    from device.service_manager import Manager

    places = Places(unit_name(args.name), not args.user)
    if settle(places, Manager(places.system)):
        # It ran under options, or an edgegraft, that were never confirmed: without them the release may do well.
        say(f"{places.unit} runs as it did before its last installation, which was cut short")
        return 0
    done = installer_for(places, service_for(places), allow_unsigned=True, tell=say).rollback(reason=args.reason)
    if args.json:
        emit_json(done)
    else:
        say(f"{done.name} {done.version} is at work again")
    return 0


def _of_boards(args: argparse.Namespace) -> int:
    from device.commands.over_ssh import on_boards
    from device.console import emit_json, say
    from device.ssh import Answer

    answers: dict[str, dict[str, object]] = {}

    def show(board: str, answer: Answer) -> None:
        answers[board] = {"exit_code": answer.code, "message": answer.last}
        say(f"{board}: {answer.last}")

    try:
        return on_boards(args, ["rollback", f"--reason={args.reason}"], show)
    finally:
        if args.json:
            emit_json({"boards": answers})
