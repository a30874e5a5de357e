"""``edgegraft bench``: what each variant costs here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import UsageError

if TYPE_CHECKING:
    from device.bench import BenchReport, BenchResult

SUMMARY = "measure latency, memory and start-up of each variant of a bundle here"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("bundle", type=Path, metavar="B.egb")
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="classifications per variant (200)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the runtimes; by default up to 4")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.runs < 1 or (args.threads is not None and args.threads < 1):
        raise UsageError("--runs and --threads take numbers from 1")

    from device.bench import bench_bundle
    from device.console import emit_json, say

    report = bench_bundle(args.bundle, args.runs, args.threads, lambda name: say(f"measuring {name} ..."))
    if args.json:
        emit_json(report)
    else:
        print(report_text(report))
    return 0 if report.chosen else 1


def report_text(report: BenchReport) -> str:
    """The report for a terminal."""
    from device.console import table

    about = report.machine
    header = ("variant", "size MB", "p50 ms", "p95 ms", "p99 ms", "frames/s", "start s", "memory MB")
    lines = [f"{about['model']}, {about['cores']} cores, {about['architecture']}", ""]
    lines.append(table(header, [_row(result) for result in report.results]))
    lines += [f"{result.variant}: {result.error}" for result in report.results if result.error]
    lines += ["", f"fastest that is right here: {report.chosen or 'none'}"]
    return "\n".join(lines)


def _row(result: BenchResult) -> tuple[str, ...]:
    size = f"{result.size_bytes / 1e6:.1f}"
    latency = result.latency_ms
    if latency is None:
        return (result.variant, size, *["-"] * 6)
    figures = (latency.p50, latency.p95, latency.p99, result.frames_per_second)
    start, memory = f"{result.start_seconds:.2f}", f"{result.rss_mb:.0f}"
    return (result.variant, size, *(f"{figure:.1f}" for figure in figures), start, memory)
