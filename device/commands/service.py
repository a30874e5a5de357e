"""``edgegraft service``: live classification that starts with the board and is kept going by systemd."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.commands.install import add_install_options, asked_for
from device.commands.run import add_run_options
from device.errors import UsageError

if TYPE_CHECKING:
    from device.service import Places
    from device.service_manager import ServiceStatus

SUMMARY = "run as a systemd service: install, status, uninstall"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="install|status|uninstall")
    install = actions.add_parser("install", help="start now and at every boot, with the options of 'edgegraft run'")
    install.add_argument("bundle", type=Path, metavar="B.egb", help="it is copied; 'edgegraft install' takes a new one")
    add_run_options(install)
    add_install_options(install)
    install.add_argument("--dry-run", action="store_true", help="print the unit, change nothing")
    status = actions.add_parser("status", help="how it is; exit code 1 where it does not run")
    uninstall = actions.add_parser("uninstall", help="stop it and remove it; what it has written stays")
    for action in (install, status, uninstall):
        action.add_argument("--name", metavar="NAME", help="to tell several services of a board apart")
        kind = action.add_mutually_exclusive_group()
        kind.add_argument("--system", dest="user", action="store_false", help="of the system (this needs root)")
        kind.add_argument("--user", action="store_true", help="this user's own, without the sandbox")
        action.set_defaults(user=False)
        # Behind the action it is this parser that meets it.
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.service import Places, unit_name

    places = Places(unit_name(args.name), not args.user)
    if args.action == "install":
        return _install(args, places)
    if args.action == "status":
        return _status(args, places)
    return _uninstall(args, places)


def _install(args: argparse.Namespace, places: Places) -> int:
    if args.frames is not None:
        raise UsageError("--frames ends a classification, and a service is started again when it ends; leave it out")

    from device.console import emit_json, say
    from device.releases.local import installer_for
    from device.releases.refusals import Unhealthy
    from device.releases.renewal import RenewedService, settle
    from device.service import plan
    from device.service_manager import Manager
    from device.service_needs import Machine
    from device.service_unit import unit_text

    manager = Manager(places.system)
    unit = plan(places, vars(args), Machine(), manager.version())
    if args.dry_run:
        text = unit_text(unit)
        if args.json:
            emit_json({"unit": unit.name, "path": str(places.unit_file), "text": text})
        else:
            print(text, end="")
        return 0
    manager.require()
    asked, service = asked_for(args), RenewedService(places, manager, unit)
    installer = installer_for(places, service, args.allow_unsigned, say)
    settle(places, manager)
    try:
        done = installer.install(asked)
    except Unhealthy:
        service.acquit()
        raise
    if not done.changed:
        service.renew(done.release, asked.window)  # its options may be new
    service.confirm()
    if args.json:
        emit_json({"unit": unit.name, "path": str(places.unit_file), "bundle": str(places.releases / "current")})
    else:
        prefix = "" if places.system else " --user"
        say(f"{unit.name} is installed and at work; its log: journalctl{prefix} -u {unit.name} -f")
    return 0


def _status(args: argparse.Namespace, places: Places) -> int:
    from device.console import emit_json
    from device.service_manager import Manager

    manager = Manager(places.system)
    manager.require()
    status = manager.status(places.unit, places.unit_file.exists())
    if args.json:
        emit_json(status)
    else:
        print(_sentence(status))
    return 0 if status.active == "active" else 1


def _uninstall(args: argparse.Namespace, places: Places) -> int:
    from device.console import emit_json, say
    from device.service import uninstall
    from device.service_manager import Manager

    manager = Manager(places.system)
    manager.require()
    manager.stop(places.unit)
    removed = uninstall(places)
    manager.reload()
    if args.json:
        emit_json({"unit": places.unit, "removed": removed})
    else:
        say(f"{places.unit}: {'removed' if removed else 'was not installed'}; {places.state} is left as it is")
    return 0


def _sentence(status: ServiceStatus) -> str:
    if not status.installed:
        return f"{status.unit}: not installed; edgegraft service install B.egb --camera 0"
    parts = [f"{status.unit}: {status.active} ({status.detail})"]
    parts += [status.text] if status.text else []
    parts += [f"started again {status.restarts} times"] if status.restarts else []
    parts += [f"last result: {status.result}"] if status.result not in ("", "success") else []
    parts += [] if status.enabled else ["not started at boot"]
    return "; ".join(parts)
