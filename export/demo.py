"""The whole road on drawn photos: draw, train, export, prove, and classify a virtual camera live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device.bench import BenchReport, bench_bundle
from device.cameras import parse_camera
from device.classifier import open_classifier
from device.console import say
from device.loop import LoopStats
from device.prediction import Prediction
from device.runtime import run_cameras
from device.scene import CLASSES, draw_dataset
from device.sinks.base import Result, Want
from device.status import Status
from export.build import ExportConfig, ExportResult, export_run
from export.errors import ExportError
from pipeline.config import TrainConfig
from pipeline.display import Display
from pipeline.run import Run
from pipeline.train import train
from pipeline.workstation import require_tensorflow

_BENCH_RUNS = 100
_LEFT_BY_DEMO = ("photos", "run", "signs.egb")


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """Size of the demo.

    Attributes:
        out: folder for photos, run and bundle; new, empty, or left by an earlier demo.
        photos_per_class: drawn photos per class.
        frames: of the virtual camera.
        seed: of drawing, splits and training. The camera's world has another seed.
    """

    out: Path
    photos_per_class: int
    frames: int
    seed: int

    @property
    def camera(self) -> str:
        """URI of the virtual camera.

        Not live, so that every frame counts and the result repeats; few frames a second, so that every sign comes.
        """
        return f"scene:?seed={self.seed + 1000}&fps=5&frames={self.frames}&live=0"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What every step gave."""

    run: Run
    exported: ExportResult
    bench: BenchReport
    scene: LoopStats
    camera: str


def run_demo(config: DemoConfig, display: Display) -> DemoResult:
    """Walk the whole road.

    Raises:
        ExportError: there is something else in the output folder.
        EdgegraftError: a step failed.
    """
    require_tensorflow()
    _clear(config.out)
    photos = config.out / "photos"
    say(f"1/5  drawing {config.photos_per_class} photos per class of traffic signs into {photos}")
    display.begin("drawing", config.photos_per_class * len(CLASSES), "photo")
    draw_dataset(photos, config.photos_per_class, config.seed, on_photo=display.advance)
    display.end()
    say("2/5  training")
    # Never mirrored, for a mirrored sign is another sign.
    run = train(TrainConfig(photos, config.out / "run", flip=False, seed=config.seed), display)
    say("3/5  exporting, and proving every variant against the float model")
    bundle = config.out / "signs.egb"
    exported = export_run(ExportConfig(run.folder, bundle), display)
    say("4/5  measuring every variant on this machine")
    bench = bench_bundle(bundle, _BENCH_RUNS)
    say(f"5/5  classifying {config.frames} frames of a virtual camera, whose truth is known")
    display.begin("scene", config.frames, "frame")
    with open_classifier(bundle) as classifier:
        scene = run_cameras(classifier, [parse_camera(config.camera)], [_Watching(display)], config.frames)
    display.end()
    return DemoResult(run, exported, bench, scene, config.camera)


class _Watching:
    """A Sink that moves the display on."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def wants(self, prediction: Prediction) -> Want:
        return Want.PREDICTION

    def write(self, result: Result) -> None:
        self._display.advance(1, result.prediction.answer or "unknown")

    def report(self, status: Status) -> None:
        """The display shows progress only."""

    def close(self) -> None:
        """Nothing to release."""


def _clear(out: Path) -> None:
    """Remove what an earlier demo left; refuse anything else."""
    import shutil

    if out.exists() and not out.is_dir():
        raise ExportError(f"{out}: is a file; name a folder with --out")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in _LEFT_BY_DEMO) if out.exists() else []
    if foreign:
        raise ExportError(f"{out}: holds other files ({', '.join(foreign[:3])}); name a new folder with --out")
    for name in _LEFT_BY_DEMO:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
