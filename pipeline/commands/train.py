"""``edgegraft train``: photos to a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.contract import Fit
from pipeline.backbones.registry import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from pipeline.run import Run

SUMMARY = "train a classifier on a folder of photos"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder per class, or train/ [val/] test/ of them")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the folder to write")
    parser.add_argument(
        "--backbone",
        default=DEFAULT_BACKBONE,
        metavar="NAME",
        help=f"{DEFAULT_BACKBONE} (default), mobilenetv1-ALPHA, mobilenetv2-ALPHA such as mobilenetv2-0.35, resnet50",
    )
    parser.add_argument(
        "--weights",
        default="imagenet",
        metavar="W",
        help="imagenet (default) or a Keras .h5 file without top",
    )
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the model's square input (the backbone's)")
    parser.add_argument(
        "--fit",
        default=Fit.CENTRE_CROP.value,
        choices=[fit.value for fit in Fit],
        help="how a photo of another shape becomes square (centre-crop)",
    )
    parser.add_argument(
        "--no-flip", action="store_true", help="never mirror photos: for text, digits, arrows and other handed things"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the splits and of training (0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished run in --out")


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json
    from pipeline.display import Terminal
    from pipeline.train import TrainConfig, train

    config = TrainConfig(
        data=args.data,
        out=args.out,
        backbone=args.backbone,
        weights=args.weights,
        size=args.size,
        fit=Fit(args.fit),
        flip=not args.no_flip,
        seed=args.seed,
        overwrite=args.overwrite,
    )
    trained = train(config, Terminal())
    if args.json:
        emit_json(run_json(trained))
    else:
        print(run_text(trained))
    return 0


def run_json(trained: Run) -> dict[str, Any]:
    """The command's JSON object."""
    record = trained.record
    return {
        "run": str(trained.folder),
        "backbone": record.backbone,
        "classes": record.classes,
        "photos": record.photos,
        "left_out": record.left_out,
        "seconds": record.seconds,
        "stages": record.stages,
        "validation": {"accuracy": record.validation_accuracy},
        "test": record.test,
    }


def run_text(trained: Run) -> str:
    """The result for a terminal."""
    record, folder = trained.record, trained.folder
    test = record.test
    lines = [
        f"test        {test.accuracy:.1%} of {test.n} photos right (95 % interval {test.low:.1%} to {test.high:.1%})",
        f"run         {folder}, {record.seconds:.0f} s in all",
    ]
    for path, reason in list(record.left_out.items())[:5]:
        lines.append(f"left out    {path}: {reason}")
    if len(record.left_out) > 5:
        lines.append(f"            and {len(record.left_out) - 5} more, see {folder / 'run.json'}")
    lines += ["", f"next:       edgegraft export {folder} --out {folder.name}.egb"]
    return "\n".join(lines)
