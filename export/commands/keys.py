"""``edgegraft keys``: the keys with which bundles and channels are signed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.keys.folder import KeysReport, Passphrases

SUMMARY = "keys to sign bundles and channels with: create, rotate, show, sign"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|rotate|show|sign")
    create = actions.add_parser("create", help="an offline root key, and the one that signs from day to day")
    rotate = actions.add_parser("rotate", help="a new key; the old one is revoked on every board that hears of it")
    show = actions.add_parser("show", help="versions, end and key ids; no passphrase is needed")
    sign = actions.add_parser("sign", help="write B.egb.sig, for boards without a channel")
    for action in (create, rotate, show):
        action.add_argument("keys", type=Path, metavar="KEYS", help="the folder")
    sign.add_argument("bundle", type=Path, metavar="B.egb")
    sign.add_argument("--keys", type=Path, required=True, metavar="KEYS", help="the folder")
    sign.add_argument("--days", type=int, default=365, help="for which boards install it (365)")
    rotate.add_argument("--role", choices=("online", "root"), default="online", help="whose key (online)")
    for action in (create, rotate):
        action.add_argument("--type", choices=("ed25519", "ecdsa-p256"), default="ed25519", help="of new keys")
        action.add_argument("--root-passphrase-file", type=Path, metavar="FILE", help="else $EDGEGRAFT_ROOT_PASSPHRASE")
    for action in (create, rotate, sign):
        action.add_argument("--passphrase-file", type=Path, metavar="FILE", help="else $EDGEGRAFT_PASSPHRASE or asked")
    create.add_argument("--root-keys", type=int, default=1, metavar="N", help="root keys, for as many places (1)")
    create.add_argument(
        "--threshold", type=int, default=1, metavar="M", help="of them must sign what names other keys (1)"
    )
    create.add_argument("--no-passphrase", action="store_true", help="the online key is not encrypted, for a CI")
    for action in (create, rotate, show, sign):
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json, say
    from export.keys.folder import KeyKind, KeyRole, RootKeys, create_keys, rotate_keys, show_keys

    if args.action == "sign":
        return _sign(args)
    if args.action == "create":
        roots = RootKeys(args.root_keys, args.threshold)
        report = create_keys(args.keys, _both(args), KeyKind(args.type), roots)
    elif args.action == "rotate":
        report = rotate_keys(args.keys, KeyRole(args.role), _both(args), KeyKind(args.type))
    else:
        report = show_keys(args.keys)
    if args.json:
        emit_json(report)
    else:
        say(_sentence(report))
        if args.action == "create":
            names = " and ".join(f"{args.keys}/{name}" for name in roots.names)
            apart = ", each to a place of its own" if len(roots.names) > 1 else ""
            say(f"enrol boards with {args.keys}/{report.root_version}.root.json; take {names} offline{apart}")
    return 0


def _sign(args: argparse.Namespace) -> int:
    from device.console import emit_json, say
    from export.channel.keys import KeyFolder
    from export.keys.passphrase import online_passphrase
    from export.keys.sign import sign_bundle

    path = sign_bundle(args.bundle, KeyFolder(args.keys, online_passphrase(args.passphrase_file)), args.days)
    if args.json:
        emit_json({"bundle": str(args.bundle), "signature": str(path), "days": args.days})
    else:
        say(f"{path}: signed; boards install it for {args.days} days")
    return 0


def _both(args: argparse.Namespace) -> Passphrases:
    from export.keys.folder import Passphrases
    from export.keys.passphrase import online_passphrase, root_passphrase

    root = root_passphrase(args.root_passphrase_file)
    if args.action == "rotate" and args.role == "root":
        return Passphrases(root, "")
    return Passphrases(root, "" if getattr(args, "no_passphrase", False) else online_passphrase(args.passphrase_file))


def _sentence(report: KeysReport) -> str:
    keys = "; ".join(f"{role} {', '.join(keyid[:12] for keyid in ids)}" for role, ids in report.keys.items())
    signing = f", {report.threshold} of {len(report.keys['root'])} sign" if len(report.keys["root"]) > 1 else ""
    return f"{report.folder}: root version {report.root_version}, until {report.expires[:10]}{signing}; {keys}"
