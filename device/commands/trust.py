"""``edgegraft trust``: whose bundles this board takes."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "whose bundles this board takes: enroll, show"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="enroll|show")
    enroll = actions.add_parser("enroll", help="believe this root from now on")
    enroll.add_argument("root", type=Path, metavar="ROOT.json", help="N.root.json from the publisher's folder of keys")
    enroll.add_argument("--replace", action="store_true", help="also where it does not follow from the one before")
    show = actions.add_parser("show", help="which root it is")
    for action in (enroll, show):
        action.add_argument("--name", metavar="NAME", help="of the service, where a board has several")
        action.add_argument("--user", action="store_true", help="this user's own service")
        # Behind the action it is this parser that meets it.
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json, say
    from device.errors import DeviceError
    from device.releases.store import Store
    from device.service import Places, unit_name
    from device.trust.root import enroll, trusted_root

    trust = Store(Places(unit_name(args.name), not args.user).releases).trust
    try:
        root = enroll(trust, args.root.read_bytes(), args.replace) if args.action == "enroll" else trusted_root(trust)
    except PermissionError as err:
        raise DeviceError(f"{err.filename}: {err.strerror}; run it with sudo, or use --user") from err
    if args.json:
        emit_json({"trust": str(trust), "root_version": root.version, "expires": root.expires.isoformat()})
    else:
        say(f"{trust}: root version {root.version}, until {root.expires:%Y-%m-%d}")
    return 0
