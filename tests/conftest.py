"""Fixtures that several test files share. What is slow is built once, from real weights and real code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from workers import ByFile, long_ones_first, made_once

# Started in the background of a script, this process ignores Ctrl-C, and all that it starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Asked by ``-n``."""
    config.option.loadscopereorder = False  # the order is the one made below
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long_ones_first(items)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos, video and weights beside the checkout; tests that need them are skipped without."""
    folder = Path(os.environ.get("EDGEGRAFT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real photos and weights; none at {folder} (name another place with EDGEGRAFT_DATA)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded photos of tests stay out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["EDGEGRAFT_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def drawn_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn traffic signs, 24 of each class."""
    from device.scene import draw_dataset

    return made_once(tmp_path_factory, "drawn", lambda folder: draw_dataset(folder, 24, seed=5))


@pytest.fixture(scope="session")
def run_folder(drawn_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished Run: a head on EfficientNet-Lite0 at 96 pixels, on the drawn photos.

    Of the fast budget: all that is written is what fine-tuning writes too, and every file that builds on it waits for
    it. Fine-tuned ones are in test_pipeline_fitting.py, test_pipeline_train.py and e2e/.
    """
    from pipeline.config import Budget, TrainConfig
    from pipeline.train import train

    def make(folder: Path) -> None:
        train(TrainConfig(drawn_photos, folder, size=96, budget=Budget.FAST, seed=1))

    return made_once(tmp_path_factory, "signs", make)


@pytest.fixture(scope="session")
def bundle_path(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every variant of that run. Not to be written to."""
    from export.budget import Budget
    from export.build import ExportConfig, export_run

    # Few validation photos: one answer more or less is three points, and these tests are not about accuracy.
    def make(path: Path) -> None:
        export_run(ExportConfig(run_folder, path, budget=Budget(15.0, 50.0)))

    return made_once(tmp_path_factory, "signs.egb", make)


@pytest.fixture(scope="session")
def shape_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of discs, crosses and stripes, 40 of each: even LeNet-5 learns them in seconds."""
    from trainings import draw_shapes

    return draw_shapes(tmp_path_factory.mktemp("shapes") / "photos", 40)


@pytest.fixture(scope="session")
def lenet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of LeNet-5 at 32 pixels, untrained: for what must work with any pretrained weights, quickly."""
    import tf_keras

    from pipeline.backbones import find_backbone

    tf_keras.utils.set_random_seed(7)
    path = tmp_path_factory.mktemp("weights") / "lenet5.h5"
    find_backbone("lenet5").build((32, 32, 3)).save_weights(path)
    return path


@pytest.fixture(scope="session")
def mobilenet_weights(shared_data: Path) -> Path:
    """Real ImageNet weights of the smallest MobileNetV2."""
    return shared_data / "weights" / "mobilenet_v2_0.35_224_no_top.h5"


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[dict[str, int]], Path]:
    """Makes a folder of distinct small photos: class name to how many."""

    def make(counts: dict[str, int], root: str = "photos") -> Path:
        folder = tmp_path / root
        random = np.random.default_rng(sum(counts.values()))
        for name, count in counts.items():
            (folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (32, 40, 3), np.uint8)
                cv2.imwrite(str(folder / name / f"{number:03}.png"), pixels)
        return folder

    return make


@pytest.fixture(scope="session")
def colour_models() -> dict[str, bytes]:
    """Model files of a tiny classifier that names the colour of a picture, by the name of the variant."""
    from bundles import colour_models

    return colour_models()


@pytest.fixture(scope="session")
def colour_bundle(colour_models: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real bundle with that classifier in both runtimes. Not to be written to."""
    from bundles import write_colour_bundle

    return write_colour_bundle(tmp_path_factory.mktemp("colours") / "colours.egb", colour_models)


@pytest.fixture(scope="session")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands under test keep what this machine chose, so that it is measured once for all tests."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def edgegraft(tmp_path: Path, state_home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the installed command as a user would, in a folder of its own; ``shell`` may say what is around "$@"."""
    program = Path(sys.executable).with_name("edgegraft")
    # Buffered, as at a user's terminal, whatever is set where the tests run.
    environment = {**os.environ, "PYTHONUNBUFFERED": "", "XDG_STATE_HOME": str(state_home)}

    def run(*arguments: str | Path, shell: str = '"$@"') -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f"set -o pipefail; {shell}", "bash", str(program), *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run


@pytest.fixture
def board_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs this Python with no more than the base install: a board. Neither TensorFlow nor ONNX Runtime is there."""
    site = tmp_path / "site-packages"
    site.mkdir()
    absent = ("efficientnet", "keras", "onnx", "tensorboard", "tensorflow", "tf2onnx", "tf_keras", "torch")
    for entry in Path(np.__file__).parent.parent.iterdir():
        if not entry.name.startswith(absent):
            (site / entry.name).symlink_to(entry)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{site}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run
