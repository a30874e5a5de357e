"""``edgegraft run``: live classification."""

from __future__ import annotations

import argparse
from pathlib import Path

from device.errors import UsageError

SUMMARY = "classify what a camera sees, live"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("bundle", type=Path, metavar="B.egb", help="the bundle that 'edgegraft export' wrote")
    parser.add_argument(
        "--camera",
        required=True,
        metavar="URI",
        help="0, /dev/video0, film.mp4, photo.jpg, folder/ or scene:",
    )
    parser.add_argument(
        "--sink",
        action="append",
        default=[],
        metavar="URI",
        help="jsonl:- or jsonl:FILE; may be given several times",
    )
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N predictions")
    parser.add_argument("--variant", metavar="NAME", help="of the bundle; by default the first that runs here")
    parser.add_argument("--threads", type=int, metavar="N", help="of the model's runtime; by default up to 4")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.json and "jsonl:-" in args.sink:
        raise UsageError("--json and --sink jsonl:- both want standard output; drop one of them")
    for name in ("frames", "threads"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UsageError(f"--{name} is {getattr(args, name)}, expected at least 1")

    from contextlib import ExitStack, closing

    from device.cameras import open_camera
    from device.cameras.files import PhotoFiles
    from device.classifier import open_classifier
    from device.console import emit_json, say
    from device.loop import run_loop
    from device.sinks import open_sink
    from device.sinks.terminal import TerminalSink

    with ExitStack() as stack:
        classifier = stack.enter_context(open_classifier(args.bundle, args.variant, args.threads))
        sinks = [stack.enter_context(closing(open_sink(uri))) for uri in args.sink]
        if not sinks and not args.json:
            sinks = [stack.enter_context(closing(TerminalSink()))]
        camera = open_camera(args.camera)
        say(f"{classifier.manifest.name}, variant {classifier.variant.name}, camera {args.camera}; Ctrl-C stops")
        stats = run_loop(camera, args.camera, classifier, sinks, args.frames)
    skipped = camera.skipped if isinstance(camera, PhotoFiles) else {}
    for path, reason in skipped.items():
        say(f"{path}: passed over: {reason}")
    summary = stats.summary()
    if args.json:
        source = {"bundle": str(args.bundle), "variant": classifier.variant.name, "camera": args.camera}
        emit_json({**source, **summary, "skipped": skipped})
    else:
        say(stats.sentence())
    return 0
