"""The options of ``edgegraft flash`` for cards."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from device.errors import UsageError

if TYPE_CHECKING:
    from export.flash.first_boot.prepare import CardConfig, Prepared
    from export.flash.first_boot.seed import Wifi

_REPEATED = ("camera", "sink", "web_name")
_SINGLE = ("web", "collect", "max_fps", "variant", "threads")
_SECRET_QUERY = re.compile(r"(password|passwd|token|secret|key)=", re.IGNORECASE)


def add_card_options(parser: argparse.ArgumentParser) -> None:
    """What only a card needs."""
    card = parser.add_argument_group("a card, before its first boot")
    place = card.add_mutually_exclusive_group()
    place.add_argument("--boot", type=Path, metavar="DIR", help="its mounted boot partition")
    place.add_argument("--image", type=Path, metavar="FILE", help="a raw image or disk; no root is needed for a file")
    card.add_argument("--hostname", default="", metavar="H", help="of the board")
    card.add_argument("--user-name", default="", metavar="U", help="who may log in, with --ssh-key")
    card.add_argument("--ssh-key", type=Path, action="append", default=[], metavar="FILE.pub", help="public key")
    card.add_argument("--wifi-ssid", metavar="SSID", help="network to join; by default a cable, or none")
    card.add_argument("--wifi-password-file", type=Path, metavar="F", help="its password; the card gets a derived key")
    card.add_argument("--wifi-country", metavar="CC", help="whose radio rules hold, e.g. DE")
    card.add_argument("--python", default="", metavar="3.X", help="of the system, where its card does not tell")
    card.add_argument("--wheelhouse", type=Path, metavar="DIR", help="ready wheels; by default pip fetches them")
    card.add_argument("--replace", action="store_true", help="throw away a user-data that cannot be added to")


def flash_card(args: argparse.Namespace) -> Prepared:
    """One call behind the command.

    Raises:
        UsageError: see ``prepare_card``, which tells of the others too.
    """
    from device.console import say
    from export.flash.first_boot.prepare import prepare_card

    return prepare_card(card_config(args), say)


def card_config(args: argparse.Namespace) -> CardConfig:
    """The options as a config.

    Raises:
        UsageError: one that a card cannot have.
    """
    from device.service import unit_name
    from export.flash.first_boot.prepare import CardConfig
    from export.flash.first_boot.seed import Person

    if not args.camera:
        raise UsageError("a card needs --camera, e.g. --camera csi:0 or --camera 0")
    if getattr(args, "web_token", None):
        raise UsageError(
            "--web-token is a secret, and anyone can read a card; the board makes one, or flash with --ssh"
        )
    if args.name:
        unit_name(args.name)
    return CardConfig(
        bundle=args.bundle,
        boot=args.boot,
        image=args.image,
        service=_service(args),
        unit=args.name or "",
        rules=args.rules,
        person=Person(args.hostname, args.user_name, tuple(map(_key, args.ssh_key))),
        wifi=_wifi(args),
        trust=args.trust,
        allow_unsigned=args.allow_unsigned,
        replace=args.replace,
        python=args.python,
        wheelhouse=args.wheelhouse,
        dry_run=args.dry_run,
    )


def report(prepared: Prepared) -> str:
    """For a terminal."""
    what = (
        "is ready; put it into the board and switch it on"
        if prepared.written
        else "can be prepared; nothing was written"
    )
    return (
        f"{prepared.card}: {prepared.system}, Python {prepared.python}: {what} ({prepared.payload_bytes / 1e6:.0f} MB)"
    )


def run_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of ``edgegraft run`` that a board keeps, by name."""
    names = (*_REPEATED, *_SINGLE, "web_token", "motion", "rules", "name")
    return {name: getattr(args, name) for name in names}


def _values(args: argparse.Namespace) -> list[tuple[str, object]]:
    values: list[tuple[str, object]] = [(name, each) for name in _REPEATED for each in getattr(args, name) or ()]
    values += [(name, getattr(args, name)) for name in _SINGLE if getattr(args, name) is not None]
    return values


def _service(args: argparse.Namespace) -> tuple[str, ...]:
    values = _values(args)
    for name, value in values:
        _check_open(f"--{name.replace('_', '-')}", str(value))
    # With '=', for a value that begins with a dash is a value too.
    return tuple(f"--{name.replace('_', '-')}={value}" for name, value in values) + (
        ("--motion",) if args.motion else ()
    )


def _check_open(option: str, value: str) -> None:
    try:
        secret = "://" in value and urlsplit(value).password is not None
    except ValueError:
        secret = "@" in value
    if secret or _SECRET_QUERY.search(value.partition("?")[2] + value.partition("#")[2]):
        raise UsageError(
            f"{option} holds a password, and anyone can read a card; leave it out, and give it over SSH after the "
            "first boot: edgegraft flash B.egb --ssh user@board"
        )


def _key(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"--ssh-key {path}: {getattr(err, 'strerror', None) or 'not text'}") from err
    if "PRIVATE KEY" in text:
        raise UsageError(f"--ssh-key {path} is the private key; give the public one, {path}.pub")
    return text


def _wifi(args: argparse.Namespace) -> Wifi | None:
    given = (args.wifi_ssid, args.wifi_password_file, args.wifi_country)
    if not any(given):
        return None
    if not all(given):
        raise UsageError("wifi takes all of --wifi-ssid, --wifi-password-file and --wifi-country")
    try:
        password = args.wifi_password_file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "not text"
        raise UsageError(f"--wifi-password-file {args.wifi_password_file}: {reason}") from err
    from export.flash.first_boot.seed import wifi

    return wifi(args.wifi_ssid, password, args.wifi_country)
