"""``edgegraft export``: a run to a proven bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import UsageError
from export.recipe import DEFAULT_MAX_DROP_POINTS

if TYPE_CHECKING:
    from export.build import ExportResult
    from export.parity import Outcome

SUMMARY = "turn a run into TFLite and ONNX, prove each against the float model, and bundle what passed"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder that 'edgegraft train' wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="B.egb", help="the bundle to write")
    parser.add_argument("--recipes", metavar="R,...", help="float32, static_int8; by default all")
    parser.add_argument(
        "--max-drop",
        type=float,
        default=DEFAULT_MAX_DROP_POINTS,
        metavar="POINTS",
        help="accuracy a variant may lose, in points (1.0)",
    )
    parser.add_argument("--version", default="1.0.0", metavar="X.Y.Z", help="of the bundle (1.0.0)")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.out.is_dir():
        raise UsageError(f"--out {args.out} is a folder; name a file such as {args.out / 'model.egb'}")

    from device.console import emit_json
    from export.build import ExportConfig, export_run
    from export.recipe import Recipe, parse_recipes
    from pipeline.display import Terminal

    recipes = parse_recipes(args.recipes) if args.recipes else tuple(Recipe)
    config = ExportConfig(args.run, args.out, recipes, args.max_drop, _version(args.version))
    result = export_run(config, Terminal())
    if args.json:
        emit_json(result_json(result))
    else:
        print(result_text(result))
    return 0


def result_json(result: ExportResult) -> dict[str, Any]:
    """The command's JSON object."""
    return {
        "bundle": str(result.bundle),
        "report": str(result.report),
        "seconds": result.seconds,
        "float": {
            "accuracy": result.float_score.accuracy,
            "low": result.float_score.low,
            "high": result.float_score.high,
            "n": result.float_score.n,
        },
        "variants": [_variant_json(outcome) for outcome in result.outcomes],
    }


def result_text(result: ExportResult) -> str:
    """The result for a terminal."""
    from device.console import table

    header = ("variant", "size MB", "accuracy", "drop points", "agreement", "worst diff.", "in the bundle")
    rows = [_row(outcome) for outcome in result.outcomes]
    score = result.float_score
    lines = [
        f"float model: {score.accuracy:.1%} of {score.n} validation photos ({score.low:.1%} to {score.high:.1%})",
        "",
    ]
    lines.append(table(header, rows))
    lines += [f"{outcome.target.name}: {outcome.reason}" for outcome in result.outcomes if outcome.reason]
    lines += ["", f"bundle: {result.bundle}", f"report: {result.report}"]
    lines += [
        "",
        f"next:   edgegraft run {result.bundle} --camera 0",
        f"        edgegraft bench {result.bundle}",
    ]
    return "\n".join(lines)


def _variant_json(outcome: Outcome) -> dict[str, Any]:
    measured = outcome.measured
    return {
        "name": outcome.target.name,
        "engine": outcome.target.engine.value,
        "recipe": outcome.target.recipe.value,
        "size_bytes": len(outcome.model),
        "accuracy": measured.accuracy if measured else None,
        "low": measured.accuracy_low if measured else None,
        "high": measured.accuracy_high if measured else None,
        "drop_points": measured.drop_points if measured else None,
        "agreement": measured.agreement if measured else None,
        "worst_difference": measured.worst_difference if measured else None,
        "mean_difference": measured.mean_difference if measured else None,
        "included": outcome.included,
        "reason": outcome.reason,
    }


def _row(outcome: Outcome) -> tuple[str, ...]:
    measured, included = outcome.measured, "yes" if outcome.included else "no"
    if measured is None:
        return (outcome.target.name, "-", "-", "-", "-", "-", included)
    return (
        outcome.target.name,
        f"{len(outcome.model) / 1e6:.1f}",
        f"{measured.accuracy:.1%}",
        f"{measured.drop_points:+.2f}",
        f"{measured.agreement:.1%}",
        f"{measured.worst_difference:.3f}",
        included,
    )


def _version(text: str) -> str:
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"--version is '{text}', expected three numbers such as 1.0.0")
    return text
