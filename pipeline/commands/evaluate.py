"""``edgegraft evaluate``: accuracy, confusion and calibration on labelled photos."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.evaluate import Evaluation

SUMMARY = "measure a run or every variant of a bundle on labelled photos"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("source", type=Path, metavar="RUN|B.egb", help="what to measure")
    parser.add_argument("data", type=Path, metavar="DATA", help="photos, a folder per class")
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test", "all"),
        help="the photos that training assigned to it, or all of the folder (test)",
    )


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json
    from pipeline.dataset import Split
    from pipeline.display import Terminal
    from pipeline.evaluate import evaluate

    split = None if args.split == "all" else Split(args.split)
    evaluation = evaluate(args.source, args.data, split, Terminal())
    if args.json:
        emit_json(evaluation_json(evaluation))
    else:
        print(evaluation_text(evaluation))
    return 0


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """The command's JSON object."""
    return {
        "source": evaluation.source,
        "split": evaluation.split,
        "n": evaluation.n,
        "results": [{"variant": result.variant, **asdict(result.scores)} for result in evaluation.results],
        "skipped": evaluation.skipped,
    }


def evaluation_text(evaluation: Evaluation) -> str:
    """The evaluation for a terminal: every variant, then classes and confusion of the first."""
    from device.console import table

    rows = [
        (
            result.variant,
            f"{result.scores.accuracy:.1%}",
            f"{result.scores.low:.1%} to {result.scores.high:.1%}",
            f"{result.scores.expected_calibration_error:.3f}",
        )
        for result in evaluation.results
    ]
    lines = [f"{evaluation.source} on {evaluation.n} photos ({evaluation.split})", ""]
    lines.append(table(("variant", "accuracy", "95 % interval", "calibration error"), rows))
    lines += [f"{name}: skipped, {reason}" for name, reason in evaluation.skipped.items()]
    if evaluation.results:
        first = evaluation.results[0]
        classes = list(first.scores.per_class)
        header = ("truth \\ answer", *classes, "recall", "precision")
        body = [
            (name, *(str(count) for count in row), f"{values.recall:.0%}", f"{values.precision:.0%}")
            for (name, values), row in zip(first.scores.per_class.items(), first.scores.confusion, strict=True)
        ]
        lines += ["", f"{first.variant}:", table(header, body)]
    return "\n".join(lines)
