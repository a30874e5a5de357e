"""``edgegraft publish``: offer a bundle to many boards."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import UsageError

if TYPE_CHECKING:
    from export.channel.repository import Repository

SUMMARY = "offer a bundle to many boards: a signed channel of static files, or a Mender or RAUC artifact"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("bundle", type=Path, nargs="?", metavar="B.egb")
    parser.add_argument("--channel", type=Path, metavar="DIR", help="folder that a web server, store or CDN serves")
    parser.add_argument("--keys", type=Path, metavar="KEYS", help="the folder of keys")
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="of the keys; else $EDGEGRAFT_PASSPHRASE, or asked"
    )
    parser.add_argument("--rollout", type=int, metavar="PERCENT", help="of boards that may have it already (100)")
    parser.add_argument("--renew", action="store_true", help="only sign the channel for another term")
    parser.add_argument("--days", type=int, default=30, help="after which boards refuse a channel not renewed (30)")
    parser.add_argument("--mender", type=Path, metavar="FILE.mender", help="write an artifact for Mender")
    parser.add_argument("--device-type", action="append", default=[], metavar="TYPE", help="of Mender; may be repeated")
    parser.add_argument("--rauc", type=Path, metavar="FILE.raucb", help="write a bundle for RAUC")
    for option in ("cert", "key", "compatible"):
        parser.add_argument(f"--rauc-{option}", metavar=option.upper(), help="of the RAUC bundle")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    _check(args)
    from device.console import emit_json, say

    result, lines = _artifacts(args)
    if args.channel:
        more, told = _channel(args)
        result, lines = result | more, lines + told
    if args.json:
        emit_json(result)
    else:
        for line in lines:
            say(line)
    return 0


def _artifacts(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from export.channel.agents import RaucConfig, write_mender, write_rauc

    result: dict[str, Any] = {}
    if args.mender:
        write_mender(args.bundle, args.mender, args.device_type)
        result["mender"] = str(args.mender)
    if args.rauc:
        write_rauc(args.bundle, args.rauc, RaucConfig(args.rauc_cert, args.rauc_key, args.rauc_compatible))
        result["rauc"] = str(args.rauc)
    return result, [f"{path} is written" for path in result.values()]


def _channel(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from export.channel.publish import publish, renew

    if args.renew:
        count = renew(_repository(args))
        return {"renewed": count}, [f"{args.channel}: {count} files, signed for another {args.days} days"]
    published = publish(args.bundle, _repository(args), args.rollout)
    state = f"{published.rollout_percent} % of boards" if published.changed else "as before; signed anew"
    line = f"{args.channel}: {published.name} {published.version}, {state}"
    return {"published": published}, [*published.notes, line]


def _check(args: argparse.Namespace) -> None:
    if not (args.channel or args.mender or args.rauc):
        raise UsageError("say where to: --channel DIR, --mender FILE.mender or --rauc FILE.raucb")
    if args.channel and not args.keys:
        raise UsageError("--channel needs --keys KEYS; 'edgegraft keys create KEYS' makes them")
    if args.renew and not args.channel:
        raise UsageError("--renew needs --channel DIR")
    if not args.renew and args.bundle is None:
        raise UsageError("B.egb is missing: the bundle to publish")
    if args.rollout is not None and not 0 <= args.rollout <= 100:
        raise UsageError(f"--rollout {args.rollout}: expected 0 to 100")
    if not 1 <= args.days <= 3650:
        raise UsageError(f"--days {args.days}: expected 1 to 3650")
    if args.mender and not args.device_type:
        raise UsageError("--mender needs --device-type, as the boards' Mender says it, e.g. raspberrypi4")
    if args.rauc and not (args.rauc_cert and args.rauc_key and args.rauc_compatible):
        raise UsageError("--rauc needs --rauc-cert, --rauc-key and --rauc-compatible")


def _repository(args: argparse.Namespace) -> Repository:
    from export.channel.keys import KeyFolder
    from export.channel.repository import Lifetimes, Repository
    from export.keys.passphrase import online_passphrase

    keys = KeyFolder(args.keys, online_passphrase(args.passphrase_file))
    return Repository(args.channel, keys, Lifetimes(timestamp_days=args.days))
