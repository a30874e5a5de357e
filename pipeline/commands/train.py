"""``edgegraft train``: photos to a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.backbones.base import Compression
    from pipeline.config import TrainConfig, Workers
    from pipeline.run import Run

SUMMARY = "train a classifier on a folder of photos"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``."""
    # Not above: the list of all commands wants the summary alone, and the backbones import numpy.
    from pipeline.config import Budget, TrainConfig

    defaults = TrainConfig(Path(), Path())
    parser.add_argument(
        "data", type=Path, nargs="?", metavar="DATA", help="a folder per class, or train/ [val/] test/ of them"
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="the folder to write; goes on where it was interrupted")
    parser.add_argument("--list-backbones", action="store_true", help="print the networks there are, and stop")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="write what the network will see, and stop")
    parser.add_argument(
        "--budget",
        default=defaults.budget.value,
        choices=[budget.value for budget in Budget],
        help="fast: a head, in seconds; balanced: fine-tuned too; best: settings searched (balanced)",
    )
    _network_options(parser.add_argument_group("the network"), defaults)
    _training_options(parser.add_argument_group("training"), defaults)
    _machine_options(parser.add_argument_group("several devices or machines (see pipeline/README.md)"))
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of the splits and of training (0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished run in --out")


def _network_options(group: argparse._ArgumentGroup, defaults: TrainConfig) -> None:
    from device.contract import Fit
    from pipeline.backbones.base import Compression

    group.add_argument(
        "--backbone",
        default=defaults.backbone,
        metavar="NAME",
        help=f"{defaults.backbone} (default), mobilenetv2-0.35, resnet50, ...: see --list-backbones",
    )
    group.add_argument(
        "--weights",
        default=defaults.weights,
        metavar="W",
        help="imagenet (default), none (train from scratch), a Keras .h5 file without top, or a PyTorch state dict "
        "(.pth, .safetensors) of the same network",
    )
    group.add_argument("--size", type=int, metavar="PIXELS", help="side of the model's square input (the backbone's)")
    group.add_argument(
        "--fit",
        default=defaults.fit.value,
        choices=[fit.value for fit in Fit],
        help="how a photo of another shape becomes square (centre-crop)",
    )
    group.add_argument(
        "--compression",
        type=_compressions,
        default=(),
        metavar="C,...",
        help=f"refuse a backbone that cannot take these later: {', '.join(known.value for known in Compression)}",
    )
    head = defaults.head
    group.add_argument("--hidden", type=int, default=head.hidden, metavar="UNITS", help="of a hidden layer (0: none)")
    group.add_argument("--head-batch-norm", action="store_true", help="batch norm on the pooled features")
    group.add_argument("--dropout", type=float, default=head.dropout, metavar="P", help=f"in the head ({head.dropout})")


def _compressions(text: str) -> tuple[Compression, ...]:
    from pipeline.backbones.base import Compression

    known = {compression.value: compression for compression in Compression}
    unknown = [name for name in text.split(",") if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none; there are {', '.join(known)}")
    return tuple(known[name] for name in text.split(","))


def _training_options(group: argparse._ArgumentGroup, defaults: TrainConfig) -> None:
    from pipeline.augmentation.config import Preset

    smoothing = defaults.head.label_smoothing
    group.add_argument(
        "--augment",
        default=defaults.augment.value,
        choices=[preset.value for preset in Preset],
        help="how far random views may be from the photos (standard); look at it with --preview",
    )
    group.add_argument(
        "--no-flip", action="store_true", help="never mirror photos: for text, digits, arrows and other handed things"
    )
    group.add_argument("--label-smoothing", type=float, default=smoothing, metavar="P", help=f"({smoothing})")
    group.add_argument("--learning-rate", type=float, metavar="RATE", help="at the peak (found by a range test)")
    group.add_argument("--epochs", type=int, metavar="N", help="of the longest stage, at most (the budget's)")
    group.add_argument(
        "--target-accuracy", type=float, metavar="P", help="stop when validation reaches it, such as 0.95"
    )
    group.add_argument("--teacher", type=Path, metavar="RUN", help="learn from this run's answers as well")
    group.add_argument(
        "--trials", type=int, default=defaults.search.trials, metavar="N", help="of --budget best, in all (8)"
    )
    group.add_argument(
        "--storage", type=Path, metavar="FILE", help="journal that several searches share (in the run's folder)"
    )
    group.add_argument("--tensorboard", type=Path, metavar="DIR", help="write event files as well")
    group.add_argument("--mlflow", metavar="URI", help="log to this tracking server or folder as well")


def _machine_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--devices", type=int, default=1, metavar="N", help="GPUs of this machine to train on (1)")
    group.add_argument("--worker", type=int, metavar="K", help="which of --workers this process is, from 0")
    group.add_argument(
        "--workers", metavar="HOST:PORT,...", help="every process that takes part; TF_CONFIG is understood as well"
    )


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``."""
    from device.console import emit_json
    from pipeline.display import Terminal
    from pipeline.train import assist, train

    if args.list_backbones:
        return _list_backbones(args.json)
    config = _config(args)
    if args.preview:
        return _preview(config, args.preview, args.json)
    if not config.workers.is_chief:
        assist(config)
        return 0
    trained = train(config, Terminal())
    if args.json:
        emit_json(run_json(trained))
    else:
        print(run_text(trained))
    return 0


def _config(args: argparse.Namespace) -> TrainConfig:
    from device.contract import Fit
    from device.errors import UsageError
    from pipeline.augmentation.config import Preset
    from pipeline.config import Budget, HeadConfig, Logging, Search, TrainConfig

    if args.data is None:
        raise UsageError("name the folder of photos: edgegraft train PHOTOS --out RUN")
    if args.out is None and args.preview is None:
        raise UsageError("name the folder to write with --out RUN")
    return TrainConfig(
        data=args.data,
        out=args.out or Path(),
        backbone=args.backbone,
        weights=args.weights,
        size=args.size,
        fit=Fit(args.fit),
        compression=args.compression,
        budget=Budget(args.budget),
        augment=Preset(args.augment),
        flip=not args.no_flip,
        head=HeadConfig(args.hidden, args.head_batch_norm, args.dropout, args.label_smoothing),
        learning_rate=args.learning_rate,
        epochs=args.epochs,
        target_accuracy=args.target_accuracy,
        teacher=args.teacher,
        logging=Logging(args.tensorboard, args.mlflow),
        workers=_workers(args),
        search=Search(args.trials, args.storage),
        seed=args.seed,
        overwrite=args.overwrite,
    )


def _workers(args: argparse.Namespace) -> Workers:
    from pipeline.workers import read_workers

    return read_workers(args.workers, args.worker, args.devices)


def _list_backbones(as_json: bool) -> int:
    from device.console import emit_json
    from pipeline.backbones.catalogue import backbone_rows, backbone_table

    if as_json:
        emit_json({"backbones": backbone_rows()})
    else:
        print(backbone_table())
    return 0


def _preview(config: TrainConfig, path: Path, as_json: bool) -> int:
    from device.console import emit_json
    from pipeline.preview import preview
    from pipeline.workstation import require_tensorflow

    require_tensorflow()
    preview(config, path)
    if as_json:
        emit_json({"preview": str(path)})
    else:
        print(f"{path}: what the network will see with --augment {config.augment.value}")
    return 0


def run_json(trained: Run) -> dict[str, Any]:
    """The command's JSON object."""
    record = trained.record
    return {
        "run": str(trained.folder),
        "backbone": record.backbone,
        "budget": record.budget,
        "classes": record.classes,
        "photos": record.photos,
        "left_out": record.left_out,
        "seconds": record.seconds,
        "peak_rss_mb": record.peak_rss_mb,
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
        f"run         {folder}, {record.seconds:.0f} s in all, {record.peak_rss_mb / 1000:.1f} GB of memory at most",
    ]
    for path, reason in list(record.left_out.items())[:5]:
        lines.append(f"left out    {path}: {reason}")
    if len(record.left_out) > 5:
        lines.append(f"            and {len(record.left_out) - 5} more, see {folder / 'run.json'}")
    lines += [
        "",
        f"report:     {folder / 'report.html'}",
        f"next:       edgegraft export {folder} --out {folder.name}.egb",
    ]
    return "\n".join(lines)
