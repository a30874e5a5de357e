"""``edgegraft export``: a run to a proven bundle."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import UsageError
from export.budget import DEFAULT_MAX_CLASS_DROP_POINTS, DEFAULT_MAX_DROP_POINTS, Budget
from export.keys.option import add_sign_options, signer_for

if TYPE_CHECKING:
    from export.build import ExportResult
    from export.gate import Outcome

SUMMARY = "turn a run into TFLite and ONNX, prove each against the float model, and bundle what passed"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder that 'edgegraft train' wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="B.egb", help="the bundle to write")
    parser.add_argument(
        "--recipes",
        metavar="R,...",
        help="of float32, float16, dynamic_int8, int16x8, static_int8, static_int8_per_tensor, static_int8_entropy, "
        "static_int8_percentile, mixed_int8, and with training before them qat_int8, pruned50_int8, pruned2of4_int8, "
        "clustered16_int8 and their like (those of the --target; without one float32,static_int8)",
    )
    parser.add_argument(
        "--target",
        choices=("pi4", "pi5", "jetson-orin", "coral", "cpu"),
        help="the board: which recipes and engines are tried first, and by which rule it will choose",
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        default=DEFAULT_MAX_DROP_POINTS,
        metavar="POINTS",
        help="accuracy a variant may lose, in points (1.0)",
    )
    parser.add_argument(
        "--max-class-drop",
        type=float,
        default=DEFAULT_MAX_CLASS_DROP_POINTS,
        metavar="POINTS",
        help="share of right answers that any class may lose, in points; an average can hide a lost class (10.0)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DATA", help="the photos, where they have moved and a recipe trains on them again"
    )
    parser.add_argument("--version", default="1.0.0", metavar="X.Y.Z", help="of the bundle (1.0.0)")
    add_sign_options(parser)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.out.is_dir():
        raise UsageError(f"--out {args.out} is a folder; name a file such as {args.out / 'model.egb'}")

    from device.console import emit_json
    from export.boards import USUAL, Board
    from export.build import ExportConfig, export_run
    from export.recipe import parse_forms
    from pipeline.display import Terminal

    boards = {board.text: board.selection for board in Board}
    selection = boards[args.target] if args.target else USUAL
    if args.recipes:
        selection = replace(selection, forms=parse_forms(args.recipes))
    budget = Budget(args.max_drop, args.max_class_drop)
    config = ExportConfig(args.run, args.out, selection, budget, _version(args.version), args.data)
    sign = signer_for(args)
    result = export_run(config, Terminal())
    signature = sign(result.bundle)
    if args.json:
        emit_json(result_json(result, signature))
    else:
        print(result_text(result, signature))
    return 0


def result_json(result: ExportResult, signature: Path | None = None) -> dict[str, Any]:
    """The command's JSON object."""
    return {
        "bundle": str(result.bundle),
        "signature": str(signature) if signature else None,
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


def result_text(result: ExportResult, signature: Path | None = None) -> str:
    """The result for a terminal."""
    from device.console import table

    header = (
        "variant", "size MB", "zipped MB", "accuracy", "drop points", "worst class", "agreement", "ms here", "included"
    )  # fmt: skip
    rows = [_row(outcome) for outcome in result.outcomes]
    score = result.float_score
    lines = [
        f"float model: {score.accuracy:.1%} of {score.n} validation photos ({score.low:.1%} to {score.high:.1%})",
        "",
    ]
    lines.append(table(header, rows))
    lines += [f"{outcome.target.name}: {outcome.reason}" for outcome in result.outcomes if outcome.reason]
    lines += [f"{outcome.target.name}: {warning}" for outcome in result.outcomes for warning in outcome.warnings]
    lines += ["", f"bundle: {result.bundle}"]
    lines += [f"signed: {signature}"] if signature else []
    lines += [f"report: {result.report}"]
    lines += [
        "",
        f"next:   edgegraft run {result.bundle} --camera 0",
        f"        edgegraft bench {result.bundle}",
        f"        edgegraft bench {result.bundle} --on user@board",
    ]
    return "\n".join(lines)


def _variant_json(outcome: Outcome) -> dict[str, Any]:
    measured = outcome.proof.measured if outcome.proof else None
    return {
        "name": outcome.target.name,
        "engine": outcome.target.engine.value,
        "recipe": outcome.target.form.text,
        "size_bytes": len(outcome.model),
        "zipped_bytes": outcome.zipped_bytes,
        "accuracy": measured.accuracy if measured else None,
        "low": measured.accuracy_low if measured else None,
        "high": measured.accuracy_high if measured else None,
        "drop_points": measured.drop_points if measured else None,
        "worst_class_drop_points": measured.worst_class_drop_points if measured else None,
        "agreement": measured.agreement if measured else None,
        "worst_difference": measured.worst_difference if measured else None,
        "mean_difference": measured.mean_difference if measured else None,
        "expected_calibration_error": measured.expected_calibration_error if measured else None,
        "temperature": outcome.proof.decision.temperature if outcome.proof else None,
        "unknown_threshold": outcome.proof.decision.unknown_threshold if outcome.proof else None,
        "latency_ms": outcome.tryout.latency_ms if outcome.tryout else None,
        "rss_mb": outcome.tryout.rss_mb if outcome.tryout else None,
        "layers_in_float": list(outcome.mixed.in_float) if outcome.mixed else [],
        "checks": [asdict(check) for check in outcome.checks],
        "warnings": list(outcome.warnings),
        "included": outcome.included,
        "reason": outcome.reason,
    }


def _row(outcome: Outcome) -> tuple[str, ...]:
    included = "yes" if outcome.included else "no"
    if outcome.proof is None or outcome.tryout is None:
        return (outcome.target.name, "-", "-", "-", "-", "-", "-", "-", included)
    measured = outcome.proof.measured
    return (
        outcome.target.name,
        f"{len(outcome.model) / 1e6:.1f}",
        f"{outcome.zipped_bytes / 1e6:.1f}",
        f"{measured.accuracy:.1%}",
        f"{measured.drop_points:+.2f}",
        f"{measured.worst_class_drop_points:+.1f}",
        f"{measured.agreement:.1%}",
        f"{outcome.tryout.latency_ms:.1f}",
        included,
    )


def _version(text: str) -> str:
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"--version is '{text}', expected three numbers such as 1.0.0")
    return text
