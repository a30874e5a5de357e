"""``edgegraft status``: what is at work here, and how it is."""

from __future__ import annotations

import argparse

from device.commands.over_ssh import add_ssh_options

SUMMARY = "the release at work here, who signed it, how it is, and what did not work"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("--name", metavar="NAME", help="of the service, where a board has several")
    parser.add_argument("--user", action="store_true", help="this user's own service")
    add_ssh_options(parser)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.ssh or args.inventory:
        return _of_boards(args)
    from device.console import emit_json
    from device.releases.report import board_report, sentences
    from device.releases.store import Store
    from device.service import Places, unit_name
    from device.service_manager import Manager

    places = Places(unit_name(args.name), not args.user)
    manager = Manager(places.system)
    manager.require()
    report = board_report(Store(places.releases), manager.status(places.unit, places.unit_file.exists()))
    if args.json:
        emit_json(report)
    else:
        print("\n".join(sentences(report)))
    return 0 if report.healthy else 1


def _of_boards(args: argparse.Namespace) -> int:
    import msgspec

    from device.commands.over_ssh import on_boards
    from device.console import emit_json, printable
    from device.releases.report import BoardReport, sentences
    from device.ssh import Answer

    reports: dict[str, BoardReport | None] = {}

    def show(board: str, answer: Answer) -> None:
        try:
            report = msgspec.json.decode(answer.output, type=BoardReport)
        except (msgspec.DecodeError, RecursionError):
            reports[board] = None
            print(f"{board}: no status ({answer.last})") if not args.json else None
            return
        reports[board] = report
        if not args.json:
            print("\n".join(f"{board}: {printable(line)}" for line in sentences(report)))

    try:
        return on_boards(args, ["status", "--json"], show)
    finally:
        if args.json:
            emit_json({"boards": reports})
