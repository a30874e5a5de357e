"""``edgegraft capture``: collect photos from a camera."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import UsageError

if TYPE_CHECKING:
    from device.capture import CaptureSession

SUMMARY = "collect photos from a camera into a folder per class"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("--camera", required=True, metavar="URI", help="as of 'edgegraft run'")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DATA/CLASS",
        help="folder of the class; with --classes of all of them",
    )
    parser.add_argument("--classes", metavar="A,B,C", help="classes to choose from, folders of --out")
    parser.add_argument("--every", type=float, metavar="S", help="one picture every S seconds, without a keyboard")
    parser.add_argument("--count", type=int, metavar="N", help="with --every: stop after N pictures")
    parser.add_argument("--burst", type=int, default=10, metavar="N", help="pictures of a burst, key b (10)")
    parser.add_argument("--interval", type=float, default=0.5, metavar="S", help="seconds between them (0.5)")
    parser.add_argument("--web", metavar="HOST:PORT", help="in a browser, e.g. :8080 (this machine only)")
    parser.add_argument(
        "--web-token", metavar="file:PATH", help="of the page where others may see it; made where none is given"
    )
    parser.add_argument("--quality", type=int, default=95, metavar="Q", help="of the JPEG files (95)")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    check_options(args)

    import signal
    from contextlib import suppress

    from device.cameras import parse_camera
    from device.capture import CameraReader, CaptureSession
    from device.collection import Collection
    from device.console import emit_json, say

    out = args.out.absolute()
    root, classes = (out, args.classes.split(",")) if args.classes else (out.parent, [out.name])
    session = CaptureSession(Collection(root, args.quality), classes)
    camera = parse_camera(args.camera)
    # Whoever ends it, the terminal is put back and the camera closed.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    tell = say if args.every is not None or args.web is not None else _silent
    with suppress(KeyboardInterrupt), CameraReader(camera, session, tell):
        _collect(args, session, camera.name)
    session.stop()
    if args.json:
        about = {"camera": camera.name, "folder": str(root), "saved": session.saved}
        emit_json({**about, "duplicates": session.duplicates, "photos": session.counts()})
    else:
        saved = ", ".join(f"{label}: {count} (+{session.saved[label]})" for label, count in session.counts().items())
        say(f"{root}: {saved}; {session.duplicates} near-duplicate(s) not saved")
    return 0


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that contradict one another.

    Raises:
        UsageError: says which.
    """
    import sys

    if args.every is not None and not (math.isfinite(args.every) and args.every > 0):
        raise UsageError(f"--every is {args.every:g}, expected seconds above 0")
    if args.count is not None and (args.every is None or args.count < 1):
        raise UsageError("--count takes a number from 1, and --every with it")
    if args.every is not None and (args.web is not None or (args.classes or "").count(",")):
        raise UsageError("--every takes pictures of one class without anybody there; drop --web and name one class")
    if args.web_token is not None and args.web is None:
        raise UsageError("--web-token is of the page that --web serves; it is missing")
    if not 1 <= args.burst <= 1000 or not 0 <= args.interval <= 3600:
        raise UsageError(f"--burst {args.burst} --interval {args.interval:g}: expected 1 to 1000, and 0 to 3600 s")
    if not 1 <= args.quality <= 100:
        raise UsageError(f"--quality is {args.quality}, expected 1 to 100")
    interactive = args.every is None and args.web is None
    if interactive and not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise UsageError("there is no terminal to press keys at; add --every SECONDS, or --web HOST:PORT")


def _collect(args: argparse.Namespace, session: CaptureSession, camera: str) -> None:
    from device.console import say

    if args.web is not None:
        from device.web.capture import serve_capture

        serve_capture(session, args.web, args.web_token)
    elif args.every is not None:
        from device.capture import capture_timed

        capture_timed(session, session.classes[0], args.every, args.count, say)
    else:
        from device.capture_terminal import CaptureTerminal

        CaptureTerminal(session, camera, args.burst, args.interval).run()


def _silent(line: str) -> None:
    """The terminal shows what is wrong with the camera itself."""
