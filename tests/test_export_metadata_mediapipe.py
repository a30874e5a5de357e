"""MediaPipe's own ImageClassifier takes our files: the same labels and the same scores as on a board.

MediaPipe lives in an environment of its own, for it brings another OpenCV, and two of them cannot be installed in one.
It is made once, in the user's cache, and wants the system libraries libEGL and libGLESv2.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundles import CLASSES, SPEC, golden_inputs
from numpy.typing import NDArray

from device.bundle import open_bundle
from device.contract import Decision, EngineKind, PreprocessSpec
from device.engines.factory import load_engine
from export.metadata.description import Description
from export.metadata.tflite import describe_tflite
from pipeline.cache import cache_root

pytestmark = pytest.mark.long

# As the module is imported, before tests get a cache of their own: 0.5 GB are not fetched anew for each run.
_CACHE = cache_root()
_MEDIAPIPE = "1.2.2"
# What its classifier imports. With --no-deps, for it asks for an OpenCV that needs a desktop's libraries.
_REQUIREMENTS = (
    f"mediapipe=={_MEDIAPIPE}",
    "absl-py~=2.3",
    "certifi",
    "flatbuffers~=25.9",
    "matplotlib~=3.10",
    "numpy>=2.1",
    f"opencv-python-headless=={version('opencv-python-headless')}",
)
_PROGRAM = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions

model, *pictures = sys.argv[1:]
options = ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model))
answers = []
with ImageClassifier.create_from_options(options) as classifier:
    for picture in pictures:
        (head,) = classifier.classify(mediapipe.Image.create_from_file(picture)).classifications
        answers.append([[category.index, category.category_name, category.score] for category in head.categories])
print(json.dumps(answers))
"""

Classify = Callable[[bytes, NDArray[np.uint8]], list[dict[str, float]]]


@pytest.fixture(scope="module")
def mediapipe_python() -> Path:
    """A Python that has MediaPipe."""
    try:
        for library in ("libEGL.so.1", "libGLESv2.so.2"):
            ctypes.CDLL(library)
    except OSError as err:
        pytest.skip(f"MediaPipe needs more of this system ({err}): sudo apt-get install libegl1 libgles2")
    folder = _CACHE / f"mediapipe-{_MEDIAPIPE}-python{sys.version_info.major}.{sys.version_info.minor}"
    python, done = folder / "bin" / "python", folder / "done"
    wanted = "\n".join(_REQUIREMENTS)
    if not done.is_file() or done.read_text() != wanted:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _make([sys.executable, "-m", "venv", "--clear", str(folder)])
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _make([*install, *_REQUIREMENTS[1:]])
        _make([*install, "--no-deps", _REQUIREMENTS[0]])
        done.write_text(wanted)
    return python


@pytest.fixture
def classify(mediapipe_python: Path, tmp_path: Path) -> Classify:
    """Runs MediaPipe's ImageClassifier on a model and on pictures, (n, height, width, 3) uint8 RGB."""

    def run(model: bytes, pictures: NDArray[np.uint8]) -> list[dict[str, float]]:
        path = tmp_path / "model.tflite"
        path.write_bytes(model)
        files = [tmp_path / f"{index}.png" for index in range(len(pictures))]
        for file, pixels in zip(files, pictures, strict=True):
            cv2.imwrite(str(file), pixels[..., ::-1])
        command = [str(mediapipe_python), "-c", _PROGRAM, str(path), *map(str, files)]
        child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert child.returncode == 0, child.stderr
        answers = json.loads(child.stdout)
        return [{name: score for _, name, score in sorted(answer)} for answer in answers]

    return run


def _make(command: list[str]) -> None:
    child = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if child.returncode != 0:
        pytest.skip(f"no environment for MediaPipe: {' '.join(command[:5])}: {child.stderr.strip()[-500:]}")


def _description(name: str, recipe: str, classes: tuple[str, ...], spec: PreprocessSpec) -> Description:
    return Description(name, "1.0.0", "test", recipe, classes, spec, Decision(), "0.1.0")


def _require_the_same(
    answers: list[dict[str, float]],
    model: bytes,
    pictures: NDArray[np.uint8],
    classes: tuple[str, ...],
    tolerance: float,
) -> None:
    """Compare MediaPipe's answers with those of the board's engine, whose probabilities are made to sum to one."""
    assert len(answers) == len(pictures)
    with load_engine(EngineKind.LITERT, model) as engine:
        for answer, pixels in zip(answers, pictures, strict=True):
            assert tuple(answer) == classes
            scores = np.array(list(answer.values()))
            np.testing.assert_allclose(scores / scores.sum(), engine.run(pixels), atol=tolerance)


# Seen are 1e-7 and nothing; XNNPACK of another version may round differently, and a step of int8 is 1/256.
VARIANTS = pytest.mark.parametrize(("name", "tolerance"), [("tflite-float32", 1e-4), ("tflite-static-int8", 2 / 256)])


@VARIANTS
def test_labels_and_scores_of_a_model_whose_answers_are_known(
    name: str, tolerance: float, colour_models: dict[str, bytes], classify: Classify
) -> None:
    model = describe_tflite(colour_models[name], _description("colours", name, CLASSES, SPEC))
    answers = classify(model, golden_inputs())
    assert [max(answer, key=answer.__getitem__) for answer in answers] == [*CLASSES, *CLASSES]
    _require_the_same(answers, model, golden_inputs(), CLASSES, tolerance)


@VARIANTS
def test_labels_and_scores_of_a_trained_model(
    name: str, tolerance: float, bundle_path: Path, classify: Classify
) -> None:
    with open_bundle(bundle_path) as bundle:
        model, classes = bundle.model(bundle.manifest.variant(name)), bundle.manifest.classes
        inputs, _ = bundle.golden()
    _require_the_same(classify(model, inputs), model, inputs, classes, tolerance)
