"""``edgegraft demo``: the whole road, without photos and without a camera."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import UsageError

if TYPE_CHECKING:
    from export.demo import DemoResult

SUMMARY = "the whole road on drawn traffic signs: train, export, prove, classify a virtual camera"

_LEAST_PHOTOS = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="where everything goes (demo)")
    parser.add_argument("--photos", type=int, default=60, metavar="N", help="photos to draw per class (60)")
    parser.add_argument("--frames", type=int, default=300, metavar="N", help="frames of the virtual camera (300)")
    parser.add_argument("--seed", type=int, default=0, help="of drawing, splits and training (0)")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.photos < _LEAST_PHOTOS or args.frames < 1:
        raise UsageError(f"--photos takes {_LEAST_PHOTOS} or more, --frames 1 or more")

    from device.console import emit_json
    from export.demo import DemoConfig, run_demo
    from pipeline.display import Terminal

    result = run_demo(DemoConfig(args.out, args.photos, args.frames, args.seed), Terminal())
    if args.json:
        emit_json(result_json(result))
    else:
        print(result_text(result))
    return 0


def result_json(result: DemoResult) -> dict[str, Any]:
    """The command's JSON object."""
    from export.commands.export import result_json as export_json
    from pipeline.commands.train import run_json

    return {
        "train": run_json(result.run),
        "export": export_json(result.exported),
        "bench": result.bench,
        "camera": result.camera,
        "scene": result.scene.summary(),
    }


def result_text(result: DemoResult) -> str:
    """The summary for a terminal."""
    from device.console import table

    test, scene, bundle = result.run.record.test, result.scene, result.exported.bundle
    proofs = {outcome.target.name: outcome.proof for outcome in result.exported.outcomes}
    rows = []
    for timed in result.bench.results:
        proof, latency = proofs[timed.variant], timed.latency_ms
        rows.append(
            (
                timed.variant,
                f"{timed.size_bytes / 1e6:.1f}",
                f"{latency.p50:.1f}" if latency else "-",
                f"{proof.measured.drop_points:+.2f}" if proof else "-",
            )
        )
    lines = [
        "",
        f"test      {test.accuracy:.1%} of {test.n} photos that training never saw ({test.low:.1%} to {test.high:.1%})",
        f"scene     {scene.correct / max(1, scene.scored):.1%} of {scene.scored} frames with a known truth, "
        f"{scene.frames_per_second:.0f} frames/s",
        "",
        table(("variant", "size MB", "p50 ms", "drop points"), rows),
        "",
        f"report    {result.exported.report}",
        f"bundle    {bundle}",
        "",
        "next      watch it live:         edgegraft run " + f"{bundle} --camera scene:",
        "          with a camera:         edgegraft run " + f"{bundle} --camera 0",
        "          with your own photos:  edgegraft train PHOTOS --out runs/first   (a folder per class)",
    ]
    return "\n".join(lines)
