"""``edgegraft status``: what is at work here, and how it is."""

from __future__ import annotations

import argparse

SUMMARY = "the release at work here, who signed it, how it is, and what did not work"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("--name", metavar="NAME", help="of the service, where a board has several")
    parser.add_argument("--user", action="store_true", help="this user's own service")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
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
