"""``edgegraft evaluate``: accuracy, confusion and calibration on labelled photos."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.calibrate import UnknownReport
    from pipeline.evaluate import Evaluation, VariantScores
    from pipeline.metrics import Proportion
    from pipeline.robustness import RobustnessTable

# A matrix of more classes is wider than a terminal.
_MOST_COLUMNS = 20
_MOST_PAIRS = 15

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
    parser.add_argument(
        "--robustness", action="store_true", help="measure on blurred, noisy, dark, turned and compressed photos too"
    )


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json
    from pipeline.dataset import Split
    from pipeline.display import Terminal
    from pipeline.evaluate import Robustness, evaluate

    split = None if args.split == "all" else Split(args.split)
    robustness = Robustness.MEASURED if args.robustness else Robustness.SKIPPED
    evaluation = evaluate(args.source, args.data, split, Terminal(), robustness)
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
        "test_looks": evaluation.test_looks,
        "results": [_result_json(result) for result in evaluation.results],
        "skipped": evaluation.skipped,
    }


def _result_json(result: VariantScores) -> dict[str, Any]:
    extra: dict[str, Any] = {"unknown": asdict(result.unknown)}
    if result.robustness:
        extra["robustness"] = asdict(result.robustness)
    return {"variant": result.variant, **asdict(result.scores), **extra}


def evaluation_text(evaluation: Evaluation) -> str:
    """The evaluation for a terminal: every variant, then classes and confusion of the first."""
    from device.console import table
    from pipeline.looks import looks_text

    rows = [
        (
            result.variant,
            f"{result.scores.accuracy:.1%}",
            f"{result.scores.low:.1%} to {result.scores.high:.1%}",
            f"{result.scores.macro_f1:.3f}",
            f"{result.scores.expected_calibration_error:.3f}",
        )
        for result in evaluation.results
    ]
    lines = [f"{evaluation.source} on {evaluation.n} photos ({evaluation.split})", ""]
    lines.append(table(("variant", "accuracy", "95 % interval", "macro F1", "calibration error"), rows))
    lines += [f"{name}: skipped, {reason}" for name, reason in evaluation.skipped.items()]
    if evaluation.results:
        lines += ["", *_confusion_lines(evaluation.results[0])]
        lines += ["", *_unknown_lines(evaluation.results[0].unknown)]
    for result in evaluation.results:
        if result.robustness:
            lines += ["", *robustness_lines(result.variant, result.robustness)]
    if evaluation.test_looks is not None:
        lines += ["", looks_text(evaluation.test_looks)]
    return "\n".join(lines)


def _confusion_lines(result: VariantScores) -> list[str]:
    from device.console import table

    if len(result.scores.per_class) > _MOST_COLUMNS:
        return _most_confused_lines(result)
    header = ("truth \\ answer", *result.scores.per_class, "recall", "precision", "F1")
    body = [
        (
            name,
            *(str(count) for count in row),
            f"{values.recall:.0%}",
            f"{values.precision:.0%}",
            f"{values.f1:.2f}",
        )
        for (name, values), row in zip(result.scores.per_class.items(), result.scores.confusion, strict=True)
    ]
    return [f"{result.variant}:", table(header, body)]


def _most_confused_lines(result: VariantScores) -> list[str]:
    """For more classes than a terminal has room for."""
    from device.console import table

    names = list(result.scores.per_class)
    pairs = [
        (count, names[truth], names[answer])
        for truth, row in enumerate(result.scores.confusion)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    shown = sorted(pairs, key=lambda pair: -pair[0])[:_MOST_PAIRS]
    body = [(truth, answer, str(count)) for count, truth, answer in shown]
    title = f"{result.variant}, the {len(shown)} most frequent of {len(pairs)} mistakes (all are in --json):"
    return [title, table(("truth", "answer", "photos"), body)]


def _unknown_lines(report: UnknownReport) -> list[str]:
    def share(found: Proportion | None) -> str:
        return f"{found.share:.1%} of {found.n}" if found else "none to count"

    lines = [
        f'under a probability of {report.threshold:.2f} the answer is "unknown":',
        f"  wrong answers removed  {share(report.wrong_removed)}",
        f"  right answers lost     {share(report.right_lost)}",
    ]
    if report.unknown_found:
        lines.append(f"  photos of no class     {share(report.unknown_found)} called unknown")
    return lines


def robustness_lines(variant: str, robustness: RobustnessTable) -> list[str]:
    """The table of damages for a terminal: a strength and its accuracy in each cell."""
    from device.console import table

    rows = [
        (row.damage.value, *(f"{cell.strength:g}: {cell.accuracy:.0%}" for cell in row.cells), row.unit)
        for row in robustness.rows
    ]
    header = ("damage", *("" for _ in robustness.rows[0].cells), "strengths are")
    return [f"{variant} on {robustness.n} photos, {robustness.clean:.0%} undamaged:", table(header, rows)]
