"""A bundle's variant, loaded, proved on its golden inputs and ready to classify."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.bundle import Bundle, open_bundle
from device.closing import Closing
from device.contract import ColourOrder, Decision, Manifest, Variant
from device.engines import Accelerator, Engine, available, not_installed, open_engine, prove
from device.errors import EngineError
from device.prediction import Answer, calibrate, decide
from device.preprocess import Pixels, preprocess

# Of each copy the runtime keeps the weights once more, in an order of its own.
_LARGEST_COPIED_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Classified:
    """What the model says about one picture, and the milliseconds that it took.

    Attributes:
        probabilities: (classes,) float32 that sum to one, calibrated by the variant's temperature.
        classes: their names.
        unknown_threshold: of the variant.
        preprocess_ms: for the picture to become the model's input.
        infer_ms: for the model and the calibration.
    """

    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    unknown_threshold: float
    preprocess_ms: float
    infer_ms: float

    @property
    def answer(self) -> Answer:
        """Of this picture alone; worked out at each call, for most callers decide over several frames."""
        return decide(self.probabilities, self.classes, Decision(unknown_threshold=self.unknown_threshold))


class Classifier(Closing):
    """Picture in, probabilities out. A context manager; not for use from two threads at once.

    Args:
        manifest: of the bundle.
        variant: of the manifest.
        engine: the variant's model, loaded and proved.
        load: loads it once more, on so many threads; None where it cannot be copied.
    """

    def __init__(
        self, manifest: Manifest, variant: Variant, engine: Engine, load: Callable[[int], Engine] | None = None
    ) -> None:
        self.manifest = manifest
        self.variant = variant
        self._engine = engine
        self._load = load

    def classify(self, picture: Pixels, order: ColourOrder = ColourOrder.BGR) -> Classified:
        """Classify one picture.

        Args:
            picture: (height, width, 3) uint8 in ``order``, any size.

        Raises:
            PhotoError: not such a picture.
            EngineError: the model failed on it.
        """
        start = time.perf_counter()
        pixels = preprocess(picture, self.manifest.preprocess, order)
        prepared = time.perf_counter()
        decision = self.variant.decision
        probabilities = calibrate(self._engine.run(pixels), decision.temperature)
        inferred = time.perf_counter()
        return Classified(
            probabilities,
            self.manifest.classes,
            decision.unknown_threshold,
            (prepared - start) * 1e3,
            (inferred - prepared) * 1e3,
        )

    @property
    def threads(self) -> int:
        """Of the runtime on the CPU."""
        return self._engine.threads

    @property
    def accelerator(self) -> str:
        """Where the model runs: "cpu", "cuda", "tensorrt" or "edgetpu"."""
        return self._engine.accelerator.value

    def copies(self) -> list[Classifier]:
        """As many as this one has threads, each on one thread; for the caller to close. None of a large model, which
        would not fit into memory so often, nor where something else than the CPU computes.

        Raises:
            EngineError: it does not load again.
        """
        small = self.variant.file.size_bytes <= _LARGEST_COPIED_BYTES
        if self._load is None or not small or self._engine.accelerator is not Accelerator.CPU or self.threads < 2:
            return []
        return [Classifier(self.manifest, self.variant, self._load(1)) for _ in range(self.threads)]

    def close(self) -> None:
        """Free the model."""
        self._engine.close()


def open_classifier(
    path: Path,
    variant: str | None = None,
    threads: int | None = None,
    state: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Classifier:
    """Open a bundle, load a variant and prove it on the golden inputs.

    Args:
        path: the ``.egb`` file.
        variant: by name; by default what ``state`` holds, without it the first, in the bundle's order of preference,
            whose runtime is installed.
        threads: of the runtime; by default what ``state`` holds, without it up to four cores.
        state: a folder in which this machine's choice is kept, see ``device.choosing``. At the first start every
            variant is tried in a process of its own, so that one which crashes its runtime is passed over.
        tell: takes lines about that.

    Raises:
        BundleError, ContractError: the bundle is not intact.
        EngineError: the variant does not load here or gives other answers than on the workstation.
    """
    with open_bundle(path) as bundle:
        if variant is None and state is not None:
            return _open_chosen(bundle, threads, state, tell)
        return _open(bundle, bundle.manifest.variant(variant) if variant else _preferred(bundle), threads)


def _open_chosen(bundle: Bundle, threads: int | None, state: Path, tell: Callable[[str], None]) -> Classifier:
    from device.choosing import Chosen, cache_folder, choose_here

    def opened(chosen: Chosen) -> Classifier:
        variant, cache = bundle.manifest.variant(chosen.variant), cache_folder(state)
        return _open(bundle, variant, threads or chosen.threads, chosen.accelerator, cache)

    chosen = choose_here(bundle, state, tell)
    try:
        return opened(chosen)
    except EngineError as err:  # such as an accelerator that is no longer there
        tell(f"{err}; choosing again")
        return opened(choose_here(bundle, state, tell, again=True))


def _open(
    bundle: Bundle,
    variant: Variant,
    threads: int | None,
    accelerator: Accelerator | None = None,
    cache: Path | None = None,
) -> Classifier:
    inputs, expected = bundle.golden()
    model = bundle.model(variant)
    try:
        engine = open_engine(variant, model, threads, accelerator, cache)
        try:
            prove(engine, inputs, expected[variant.name], bundle.manifest.golden.tolerance)
        except EngineError:
            engine.close()
            raise
    except EngineError as err:
        raise EngineError(f"{bundle.path}, variant '{variant.name}': {err}") from err
    return Classifier(bundle.manifest, variant, engine, lambda threads: open_engine(variant, model, threads))


def _preferred(bundle: Bundle) -> Variant:
    for variant in bundle.manifest.variants:
        if available(variant.engine):
            return variant
    lacks = "; ".join(sorted({not_installed(variant.engine) for variant in bundle.manifest.variants}))
    raise EngineError(f"{bundle.path}: no variant can run, {lacks}")
