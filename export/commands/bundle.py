"""``edgegraft bundle``: somebody else's TFLite or ONNX classifier to a proven bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.contract import Fit
from device.errors import UsageError
from export.keys.option import add_sign_options, signer_for

if TYPE_CHECKING:
    from export.adopt.config import Adopted

SUMMARY = "make a proven bundle from somebody else's TFLite or ONNX classifier"

_SIGNED = "-1..1"
_LEAST_SIZE, _MOST_SIZE = 8, 4096


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite or .onnx file")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="its classes, one a line in the order of its outputs; by default those inside the file",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="photos to prove it on: a folder per class, named as the labels (or ImageNet's synsets or numbers)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="B.egb", help="the bundle to write")
    parser.add_argument(
        "--preprocess",
        nargs="?",
        metavar="HOW",
        help="the numbers it wants for pixels: raw, 0..1, -1..1, imagenet (mean and deviation of PyTorch's models), "
        "caffe, or mean=M,scale=S (one number or three); ',bgr' behind for blue first. By default what the file says, "
        "else what answers best",
    )
    # argparse takes a value that begins with a dash for an option: so it is one.
    parser.add_argument(_SIGNED, dest="preprocess", action="store_const", const=_SIGNED, help=argparse.SUPPRESS)
    parser.add_argument(
        "--fit",
        default=Fit.CENTRE_CROP.value,
        choices=[fit.value for fit in Fit],
        help="how a photo becomes the input's shape (centre-crop)",
    )
    parser.add_argument(
        "--size", type=int, default=0, metavar="N", help="side of the input, if the model leaves it free"
    )
    parser.add_argument("--version", default="1.0.0", metavar="X.Y.Z", help="of the bundle (1.0.0)")
    add_sign_options(parser)


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    if args.out.is_dir():
        raise UsageError(f"--out {args.out} is a folder; name a file such as {args.out / 'model.egb'}")
    if args.size and not _LEAST_SIZE <= args.size <= _MOST_SIZE:
        raise UsageError(f"--size is {args.size}; {_LEAST_SIZE} to {_MOST_SIZE} are possible")

    from device.console import emit_json
    from export.adopt.adopt import adopt_model
    from export.adopt.config import AdoptConfig
    from export.adopt.errors import AdoptError
    from export.adopt.normalisation import parse_preprocess
    from pipeline.display import Terminal

    try:
        preprocess = parse_preprocess(args.preprocess) if args.preprocess else None
    except AdoptError as err:
        raise UsageError(str(err)) from err
    sign = signer_for(args)
    adopted = adopt_model(
        AdoptConfig(
            model=args.model,
            labels=args.labels,
            data=args.data,
            out=args.out,
            preprocess=preprocess,
            fit=Fit(args.fit),
            size=args.size,
            version=_version(args.version),
        ),
        Terminal(),
    )
    signature = sign(adopted.bundle)
    if args.json:
        emit_json(result_json(adopted, signature))
    else:
        print(result_text(adopted, signature))
    return 0


def result_json(adopted: Adopted, signature: Path | None = None) -> dict[str, Any]:
    """The command's JSON object; accuracies as fractions."""
    source, taken, given = adopted.source, adopted.interface.input, adopted.interface.output
    measured, scores, decision = adopted.measured, adopted.scores, adopted.decision
    return {
        "bundle": str(adopted.bundle),
        "signature": str(signature) if signature else None,
        "seconds": adopted.seconds,
        "model": {
            "file": source.name,
            "sha256": source.sha256,
            "size_bytes": source.size_bytes,
            "engine": source.engine.value,
            "input": {"shape": taken.shape, "dtype": taken.dtype, "layout": taken.layout.value},
            "output": {"classes": given.classes, "dtype": given.dtype, "kind": adopted.kind.value},
        },
        "variant": adopted.variant,
        "preprocess": {
            "name": adopted.preprocess,
            "from": adopted.preprocess_from,
            "mean": adopted.normalisation.mean,
            "scale": adopted.normalisation.scale,
            "bgr": adopted.normalisation.bgr,
            "width": adopted.spec.width,
            "height": adopted.spec.height,
            "fit": adopted.spec.fit.value,
        },
        "added": {"in_front": adopted.surgery.in_front, "behind": adopted.surgery.behind},
        "parity": {
            "agreement": measured.agreement,
            "worst_difference": measured.worst_difference,
            "mean_difference": measured.mean_difference,
        },
        "accuracy": scores.accuracy,
        "low": scores.low,
        "high": scores.high,
        "n": scores.n,
        "classes": len(adopted.classes),
        "classes_with_photos": _with_photos(adopted),
        "expected_calibration_error": adopted.measured.expected_calibration_error,
        "decision": {
            "temperature": decision.temperature,
            "unknown_threshold": decision.unknown_threshold,
            "fitted_on": adopted.fitted_on,
        },
        "tried": [{"preprocess": one.preprocess, "accuracy": one.accuracy, "n": one.n} for one in adopted.trials],
        "notes": adopted.notes,
        "left_out": adopted.left_out,
        "warnings": adopted.warnings,
    }


def result_text(adopted: Adopted, signature: Path | None = None) -> str:
    """The result for a terminal."""
    from device.console import table

    source, taken, given = adopted.source, adopted.interface.input, adopted.interface.output
    shape = " x ".join(map(str, taken.shape))
    scores, measured = adopted.scores, adopted.measured
    front, behind = (", ".join(steps) or "nothing" for steps in (adopted.surgery.in_front, adopted.surgery.behind))
    rows = [(one.preprocess, f"{one.accuracy:.1%}") for one in adopted.trials]
    lines = [
        f"model:       {source.name}, {source.size_bytes / 1e6:.1f} MB, sha256 {source.sha256[:16]}...",
        f"takes:       {shape} {taken.dtype}; puts out {given.classes} {adopted.kind.value}, {given.dtype}",
        f"pixels:      {adopted.preprocess} (from {adopted.preprocess_from}), {adopted.spec.fit.value}",
        f"added:       in front {front}; behind {behind}",
        f"same as the original on {measured.agreement:.1%} of {measured.photos} photos, worst difference "
        f"{measured.worst_difference:.4f}",
        *adopted.notes,
        "",
        f"ACCURACY     {scores.accuracy:.1%} of {scores.n} photos ({scores.low:.1%} to {scores.high:.1%}), "
        f"{_with_photos(adopted)} of {len(adopted.classes)} classes have photos",
        _decision_line(adopted),
        "",
        table(("pixels tried", f"accuracy on {adopted.trials[0].n}"), rows),
    ]
    lines += [f"\nwarning: {warning}" for warning in adopted.warnings]
    if adopted.left_out:
        path, reason = next(iter(adopted.left_out.items()))
        lines.append(f"{len(adopted.left_out)} file(s) left out, such as {path}: {reason}")
    lines += [
        "",
        f"bundle: {adopted.bundle}",
        *([f"signed: {signature}"] if signature else []),
        "",
        f"next:   edgegraft run {adopted.bundle} --camera 0",
    ]
    lines.append(f"        edgegraft bench {adopted.bundle}")
    return "\n".join(lines)


def _decision_line(adopted: Adopted) -> str:
    line = f"calibration error {adopted.measured.expected_calibration_error:.3f}; "
    if not adopted.fitted_on:
        return line + "temperature and unknown threshold not fitted: that takes 100 photos"
    decision = adopted.decision
    return (
        line + f"temperature {decision.temperature:.2f}, 'unknown' under {decision.unknown_threshold:.2f}, fitted on "
        f"{adopted.fitted_on} of the photos and measured on the others"
    )


def _with_photos(adopted: Adopted) -> int:
    return sum(one.n > 0 for one in adopted.scores.per_class.values())


def _version(text: str) -> str:
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"--version is '{text}', expected three numbers such as 1.0.0")
    return text
