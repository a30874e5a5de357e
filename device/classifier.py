"""A bundle's variant, loaded, proved on its golden inputs and ready to classify."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from device.bundle import Bundle, open_bundle
from device.closing import Closing
from device.contract import ColourOrder, Manifest, Variant
from device.engines import Engine, available, not_installed, open_engine, prove
from device.errors import EngineError
from device.prediction import Answer, decide
from device.preprocess import Pixels, preprocess


@dataclass(frozen=True, slots=True)
class Classified:
    """An answer and the milliseconds that it took."""

    answer: Answer
    preprocess_ms: float
    infer_ms: float
    decide_ms: float


class Classifier(Closing):
    """Picture in, answer out. A context manager; not for use from two threads at once."""

    def __init__(self, manifest: Manifest, variant: Variant, engine: Engine) -> None:
        self.manifest = manifest
        self.variant = variant
        self._engine = engine

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
        probabilities = self._engine.run(pixels)
        inferred = time.perf_counter()
        answer = decide(probabilities, self.manifest.classes, self.variant.decision)
        decided = time.perf_counter()
        return Classified(answer, (prepared - start) * 1e3, (inferred - prepared) * 1e3, (decided - inferred) * 1e3)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()


def open_classifier(path: Path, variant: str | None = None, threads: int | None = None) -> Classifier:
    """Open a bundle, load a variant and prove it on the golden inputs.

    Args:
        path: the ``.egb`` file.
        variant: by name; by default the first, in the bundle's order of preference, whose runtime is installed.
        threads: of the runtime; by default up to four cores.

    Raises:
        BundleError, ContractError: the bundle is not intact.
        EngineError: the variant does not load here or gives other answers than on the workstation.
    """
    with open_bundle(path) as bundle:
        chosen = bundle.manifest.variant(variant) if variant else _preferred(bundle)
        inputs, expected = bundle.golden()
        try:
            engine = open_engine(chosen, bundle.model(chosen), threads)
            try:
                prove(engine, inputs, expected[chosen.name], bundle.manifest.golden.tolerance)
            except EngineError:
                engine.close()
                raise
        except EngineError as err:
            raise EngineError(f"{path}, variant '{chosen.name}': {err}") from err
        return Classifier(bundle.manifest, chosen, engine)


def _preferred(bundle: Bundle) -> Variant:
    for variant in bundle.manifest.variants:
        if available(variant.engine):
            return variant
    lacks = "; ".join(sorted({not_installed(variant.engine) for variant in bundle.manifest.variants}))
    raise EngineError(f"{bundle.path}: no variant can run, {lacks}")
