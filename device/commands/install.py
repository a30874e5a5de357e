"""``edgegraft install``: a new bundle for a service that is there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import UsageError

if TYPE_CHECKING:
    from device.releases.installer import Asked

SUMMARY = "put a new bundle to work here; it is kept only if it works"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument(
        "bundle", type=Path, metavar="B.egb", help="its signature is looked for beside it, as B.egb.sig"
    )
    parser.add_argument("--name", metavar="NAME", help="of the service, where a board has several")
    parser.add_argument("--user", action="store_true", help="this user's own service")
    add_install_options(parser)


def add_install_options(parser: argparse.ArgumentParser) -> None:
    """What decides whether a bundle is taken."""
    parser.add_argument("--allow-unsigned", action="store_true", help="also a bundle that nobody signed")
    parser.add_argument("--downgrade-to", metavar="VERSION", help="also an older version, if it is this one")
    parser.add_argument("--again", action="store_true", help="also a bundle that was rolled back here")
    parser.add_argument(
        "--watch",
        type=float,
        default=40.0,
        metavar="SECONDS",
        help="for how long fresh answers must come before it is kept, default 40 s",
    )


def asked_for(args: argparse.Namespace) -> Asked:
    """What these options ask for.

    Raises:
        UsageError: a time that is none.
    """
    from device.releases.base import HealthWindow
    from device.releases.installer import Asked

    if not 0 <= args.watch <= 3600:
        raise UsageError(f"--watch {args.watch:g}: expected 0 to 3600 seconds")
    return Asked(args.bundle, args.downgrade_to, args.again, HealthWindow(length_s=args.watch))


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json, say
    from device.releases.local import installer_for, service_for
    from device.service import Places, unit_name

    places = Places(unit_name(args.name), not args.user)
    installer = installer_for(places, service_for(places), args.allow_unsigned, say)
    done = installer.install(asked_for(args))
    if args.json:
        emit_json(done)
    else:
        say(f"{done.name} {done.version} is at work" if done.changed else f"{done.name} {done.version}: unchanged")
    return 0
