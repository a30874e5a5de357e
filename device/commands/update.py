"""``edgegraft update``: poll a channel for a new release, fetch it and install it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import UsageError

if TYPE_CHECKING:
    from device.channel.update import Installer, UpdateConfig
    from device.service import Places

SUMMARY = "poll a channel for a new release and install it"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("--channel", metavar="URL", help="folder on a web server, written by 'edgegraft publish'")
    parser.add_argument("--name", metavar="NAME", help="of the service, where a board has several")
    parser.add_argument("--user", action="store_true", help="the service is this user's own")
    parser.add_argument("--bundle", metavar="NAME", help="to follow; by default that of the release at work")
    parser.add_argument("--rate", metavar="BYTES", help="a second at most, e.g. 200k")
    parser.add_argument("--login", metavar="SOURCE", help="file:PATH or credential:NAME with user:password or a token")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="CA certificates that the server's is checked against")
    parser.add_argument("--report", metavar="URI", help="tell the state: mqtt(s)://HOST/TOPIC or https://HOST/PATH")
    parser.add_argument("--all-variants", action="store_true", help="fetch the whole bundle; the board chooses anew")
    parser.add_argument("--again", action="store_true", help="try once more what was refused here before")
    parser.add_argument("--check", action="store_true", help="look only")
    timer = parser.add_mutually_exclusive_group()
    timer.add_argument("--install-timer", action="store_true", help="poll from now on, with these options")
    timer.add_argument("--remove-timer", action="store_true", help="poll no more")
    parser.add_argument("--every", default="1h", metavar="TIME", help="of the timer: 15min to 1w (1h)")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.service import Places, unit_name

    places = Places(unit_name(args.name), not args.user)
    if args.remove_timer:
        return _remove_timer(args, places)
    if not args.channel:
        raise UsageError("--channel URL is missing: the folder that 'edgegraft publish' writes, on a web server")
    if args.install_timer:
        return _install_timer(args, places)
    return _update(args, places)


def _config(args: argparse.Namespace, places: Places) -> UpdateConfig:
    from device.channel.address import parse_rate, parse_source
    from device.channel.update import UpdateConfig
    from device.choosing import default_state_folder

    states = (places.root / "var/lib/edgegraft" / places.unit,) if places.system else (default_state_folder(),)
    return UpdateConfig(
        source=parse_source(args.channel, args.login, args.ca),
        store=places.releases,
        unit=places.unit,
        states=states,
        bundle=args.bundle,
        rate=parse_rate(args.rate) if args.rate else None,
        all_variants=args.all_variants,
        again=args.again,
        report=args.report,
    )


def _update(args: argparse.Namespace, places: Places) -> int:
    from device.channel.update import enrolled_root, update
    from device.console import emit_json, say

    config = _config(args, places)
    result = update(config, enrolled_root(config.store), None if args.check else _installer(args, places), say)
    if args.json:
        emit_json(result)
    elif result.updated:
        say(f"{places.unit}: {result.name} {result.version} is at work ({result.before or 'nothing'} before)")
    elif args.check and result.version and result.version != result.before:
        say(f"{places.unit}: {result.name} {result.version} is there for this board; {result.before or 'none'} at work")
    else:
        say(f"{places.unit}: nothing new; {result.name} {result.before} is at work")
    return 0


def _installer(args: argparse.Namespace, places: Places) -> Installer:
    from device.channel.installing import BoardInstaller
    from device.console import say
    from device.releases.local import service_for
    from device.releases.store import Store

    return BoardInstaller(Store(places.releases), service_for(places), args.again, say)


def _install_timer(args: argparse.Namespace, places: Places) -> int:
    from device.channel.timer import service_text, timer_text, write_units
    from device.console import emit_json, say
    from device.service import program_command
    from device.service_manager import Manager

    _config(args, places)  # what is wrong with it is said now, not in the night
    credentials: dict[str, Path] = {}
    command = [*program_command(), "update", f"--channel={args.channel}"]
    command += [f"--name={args.name}"] if args.name else []
    command += ["--user"] if args.user else []
    for option in ("bundle", "rate", "report"):
        command += [f"--{option}={getattr(args, option)}"] if getattr(args, option) else []
    command += [f"--ca={args.ca.resolve()}"] if args.ca else []
    if args.login and args.login.startswith("file:"):
        credentials["login"] = Path(args.login.removeprefix("file:")).resolve()
        command.append("--login=credential:login")
    timer = timer_text(places.unit, args.every)
    service = service_text(places.unit, command, places.releases, places.system, credentials)
    manager = Manager(places.system)
    manager.require()
    paths = write_units(places.unit_file.parent, places.unit, timer, service)
    manager.enable(f"{places.unit}-update", "timer")
    manager.restart(f"{places.unit}-update", "timer")
    if args.json:
        emit_json({"timer": f"{places.unit}-update.timer", "every": args.every, "paths": [str(path) for path in paths]})
    else:
        say(f"{places.unit}-update.timer polls every {args.every}; its log: journalctl -u {places.unit}-update")
    return 0


def _remove_timer(args: argparse.Namespace, places: Places) -> int:
    from device.channel.timer import remove_units
    from device.console import emit_json, say
    from device.service_manager import Manager

    manager = Manager(places.system)
    manager.require()
    manager.stop(f"{places.unit}-update", "timer")
    removed = remove_units(places.unit_file.parent, places.unit)
    manager.reload()
    if args.json:
        emit_json({"timer": f"{places.unit}-update.timer", "removed": removed})
    else:
        say(f"{places.unit}-update.timer: {'removed' if removed else 'was not installed'}")
    return 0
