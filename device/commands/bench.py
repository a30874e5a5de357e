"""``edgegraft bench``: what each variant costs here, or on a board."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import UsageError

if TYPE_CHECKING:
    from device.bench import BenchReport, BenchResult

SUMMARY = "measure latency, memory and start-up of each variant of a bundle, here or on a board"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("bundle", type=Path, metavar="B.egb")
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="classifications per variant (200)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the runtimes; by default up to 4")
    parser.add_argument(
        "--on", metavar="USER@BOARD", help="measure there, over SSH; the board needs edgegraft, nothing stays on it"
    )
    parser.add_argument(
        "--remote-program",
        metavar="PATH",
        help="edgegraft on the board, where it is not on its PATH; may begin with ~/",
    )


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.runs < 1 or (args.threads is not None and args.threads < 1):
        raise UsageError("--runs and --threads take numbers from 1")
    if args.remote_program and args.on is None:
        raise UsageError("--remote-program is of the board that --on names; it is missing")

    from device.console import emit_json

    report = _measure(args)
    if args.json:
        emit_json(report)
    else:
        print(report_text(report))
    return 0 if report.chosen else 1


def _measure(args: argparse.Namespace) -> BenchReport:
    from device.console import say

    if args.on is not None:
        from device.remote import PROGRAM, Board, bench_on

        board = Board(args.on, args.remote_program or PROGRAM)
        say(f"sending {args.bundle} to {board.destination} ...")
        return bench_on(board, args.bundle, args.runs, args.threads, say)

    from device.bench import bench_bundle

    return bench_bundle(args.bundle, args.runs, args.threads, lambda name: say(f"measuring {name} ..."))


def report_text(report: BenchReport) -> str:
    """The report for a terminal."""
    from device.choice import explain
    from device.console import table

    about = report.machine
    header = ("variant", "size MB", "accuracy", "p50 ms", "p95 ms", "p99 ms", "frames/s", "start s", "memory MB")
    lines = [f"{about['model']}, {about['cores']} cores, {about['architecture']}", ""]
    lines.append(table(header, [_row(result) for result in report.results]))
    lines += [f"{result.variant}: {result.error}" for result in report.results if result.error]
    lines += ["", f"chosen: {report.chosen or 'none'} ({explain(report.choice)})"]
    return "\n".join(lines)


def _row(result: BenchResult) -> tuple[str, ...]:
    known = (result.variant, f"{result.size_bytes / 1e6:.1f}", f"{result.accuracy:.1%}")
    latency = result.latency_ms
    if latency is None:
        return (*known, *["-"] * 6)
    figures = (latency.p50, latency.p95, latency.p99, result.frames_per_second)
    start, memory = f"{result.start_seconds:.2f}", f"{result.rss_mb:.0f}"
    return (*known, *(f"{figure:.1f}" for figure in figures), start, memory)
