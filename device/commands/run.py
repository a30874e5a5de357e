"""``edgegraft run``: live classification."""

from __future__ import annotations

import argparse
from pathlib import Path

from device.errors import UsageError

SUMMARY = "classify what a camera sees, live"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("bundle", type=Path, metavar="B.egb", help="the bundle that 'edgegraft export' wrote")
    add_run_options(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What ``run`` takes beside the bundle; ``service install`` hands it on."""
    parser.add_argument(
        "--camera",
        action="append",
        required=True,
        metavar="URI",
        help="0, /dev/video0, v4l2:NAME, csi:0, rtsp://HOST/PATH, http://HOST/PATH, gst:PIPELINE, film.mp4, photo.jpg, "
        "folder/ or scene:; may be given several times",
    )
    parser.add_argument(
        "--sink",
        action="append",
        default=[],
        metavar="URI",
        help="jsonl:- or jsonl:FILE, mqtt://HOST/TOPIC, https://HOST/PATH, gpio:17?class=NAME, snapshots:DIR or "
        "clips:DIR; may be given several times",
    )
    parser.add_argument("--web", metavar="HOST:PORT", help="live view in a browser, e.g. :8080 (this machine only)")
    parser.add_argument(
        "--web-token",
        metavar="SECRET",
        help="file:PATH or credential:NAME, for a live view that others can reach; made where none is given",
    )
    parser.add_argument(
        "--web-name",
        action="append",
        default=[],
        metavar="NAME",
        help="by which the live view may be called beside this machine's own names, e.g. of a proxy before it",
    )
    parser.add_argument(
        "--collect", type=Path, metavar="DIR", help="folder into which the live view saves frames under a class"
    )
    parser.add_argument("--rules", type=Path, metavar="FILE", help="how answers settle, in TOML; see device/README.md")
    parser.add_argument("--motion", action="store_true", help="classify only where something moves: saves the CPU")
    parser.add_argument("--max-fps", type=float, metavar="N", help="classify at most so many frames a second a camera")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N predictions")
    parser.add_argument("--variant", metavar="NAME", help="of the bundle; by default the one that is best here")
    parser.add_argument("--threads", type=int, metavar="N", help="of the model's runtime; by default as measured")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.json and "jsonl:-" in args.sink:
        raise UsageError("--json and --sink jsonl:- both want standard output; drop one of them")
    for name in ("frames", "threads", "max_fps"):
        value = getattr(args, name)
        if value is not None and not value >= (1 if name != "max_fps" else 0.01):
            raise UsageError(f"--{name.replace('_', '-')} is {value}, expected at least 1")

    from device.console import emit_json, say
    from device.live import LiveConfig, run_live

    config = LiveConfig(
        bundle=args.bundle,
        cameras=tuple(args.camera),
        sinks=tuple(args.sink),
        quiet=args.json,
        web=args.web,
        web_token=args.web_token,
        web_names=tuple(args.web_name),
        collect=args.collect,
        rules=args.rules,
        motion=args.motion,
        most_fps=args.max_fps,
        limit=args.frames,
        variant=args.variant,
        threads=args.threads,
    )
    outcome = run_live(config, say)
    for path, reason in outcome.skipped.items():
        say(f"{path}: passed over: {reason}")
    if args.json:
        cameras = outcome.cameras[0] if len(outcome.cameras) == 1 else list(outcome.cameras)
        source = {"bundle": str(args.bundle), "variant": outcome.variant, "camera": cameras}
        emit_json({**source, **outcome.stats.summary(), "skipped": outcome.skipped})
    else:
        say(outcome.stats.sentence())
    return 0
