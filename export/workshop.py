"""Where variants are made, proved and judged, one after the other. Imports TensorFlow."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from device.contract import EngineKind
from device.errors import EngineError
from device.tryout import try_model
from export.budget import Budget
from export.errors import ExportError, refusals
from export.gate import Outcome, judge, judge_accuracy
from export.metadata.description import Description
from export.metadata.onnx import describe_onnx
from export.metadata.tflite import describe_tflite
from export.mixed import LayerQuantizer, Mixed, search_mixed
from export.onnx import convert_onnx, onnx_layers
from export.operators import beside_accelerator, list_operators
from export.parity import Proof, Reference, choose_golden, prove_variant
from export.recipe import Recipe, Target
from export.source import Source, make_source
from export.tflite import convert_tflite, tflite_layers
from pipeline.compression.config import Plan
from pipeline.compression.load import load_compressed, plain_form
from pipeline.display import Display, counted
from pipeline.run import ExportPhotos, Run
from pipeline.trained import TrainedClassifier, load_trained

_GOLDEN_COUNT = 8
# Two halves of the calibration photos should give one and the same model.
_LEAST_AGREEMENT_OF_HALVES = 0.97


@dataclass(frozen=True, slots=True)
class Naming:
    """What the bundle will be called, for the files say it too."""

    name: str
    version: str


# No slots: what is used again is kept.
@dataclass(frozen=True)
class Workshop:
    """Makes variants of one run.

    Attributes:
        run: finished.
        photos: of it.
        budget: what a variant may lose.
        naming: of the bundle.
        display: is told how it goes.
        accelerated: TFLite operators that the board's accelerator knows; empty: it has none.
    """

    run: Run
    photos: ExportPhotos
    budget: Budget
    naming: Naming
    display: Display
    accelerated: frozenset[str] = frozenset()

    @cached_property
    def reference(self) -> Reference:
        """The float model's answers to the validation photos."""
        record = self.run.record
        probabilities = self._trained.predict(self.photos.validation)
        return Reference(probabilities, record.decision, self.photos.labels, record.classes)

    @cached_property
    def golden(self) -> list[int]:
        """Indices among the validation photos."""
        return choose_golden(self.photos.labels, self.reference.probabilities, _GOLDEN_COUNT)

    def make(self, target: Target) -> Outcome:
        """Convert, prove and judge one variant; what goes wrong is in the outcome."""
        steps = len(self.photos.labels) + (len(self.photos.calibration) if target.recipe.needs_calibration else 0)
        self.display.begin(target.name, steps, "photo")
        try:
            mixed = self._search(target) if target.recipe is Recipe.MIXED_INT8 else None
            model = mixed.model if mixed else _convert(target, self._source(target))
            outcome = replace(self.examine(target, model), mixed=mixed)
        except (ExportError, EngineError) as err:
            outcome = Outcome(target, failure=str(err))
        self.display.end(_sentence(outcome))
        return outcome

    def examine(self, target: Target, model: bytes) -> Outcome:
        """Prove and judge a file.

        Args:
            target: what it is meant to be.
            model: its bytes, before it says of itself what it is.

        Raises:
            EngineError: it does not run.
        """
        pictures = counted(self.photos.validation, self.display, "proving")
        proof = prove_variant(target, model, self.photos, self.reference, pictures)
        described = self._describe(target, model, proof)
        tried = try_model(target.engine, described, self.photos.validation[self.golden])
        operators = list_operators(target, described)
        checks = judge(proof, self.reference, self.budget, operators, tried, self.golden)
        warning = beside_accelerator(operators, self.accelerated)
        zipped_bytes = len(zlib.compress(described, 9))
        return Outcome(target, described, zipped_bytes, proof, tried, checks, warnings=(warning,) if warning else ())

    def warn_of_calibration(self, outcome: Outcome) -> Outcome:
        """Calibrate on other photos of the train split; where that gives another model, the outcome says so."""
        if outcome.proof is None:
            return outcome
        other = make_source(self._trained, self.photos.calibration[1::2])
        try:
            proof = prove_variant(outcome.target, _convert(outcome.target, other), self.photos, self.reference)
        except (ExportError, EngineError) as err:
            return _warned(
                outcome, f"calibrated on other train photos there is no model at all: {str(err).rstrip('.')}"
            )
        agreement = float((proof.probabilities.argmax(axis=1) == outcome.proof.probabilities.argmax(axis=1)).mean())
        if agreement >= _LEAST_AGREEMENT_OF_HALVES:
            return outcome
        return _warned(
            outcome,
            f"calibrated on other train photos it answers alike on {agreement:.1%} only: the calibration photos do not "
            f"stand for what the model sees; add photos, or use a recipe that needs none",
        )

    def _search(self, target: Target) -> Mixed:
        source = self._source(target)
        layers: LayerQuantizer = tflite_layers(source) if target.engine is EngineKind.LITERT else onnx_layers(source)
        with refusals(target.name):
            return search_mixed(layers, lambda model: self._holds(target, model))

    def _holds(self, target: Target, model: bytes) -> bool:
        try:
            proof = prove_variant(target, model, self.photos, self.reference)
        except EngineError:
            # XNNPACK refuses some pairs of ranges; with the layer in float it takes the rest.
            return False
        return all(check.passed for check in judge_accuracy(proof, self.reference, self.budget))

    def _describe(self, target: Target, model: bytes, proof: Proof) -> bytes:
        describe = describe_tflite if target.engine is EngineKind.LITERT else describe_onnx
        record = self.run.record
        description = Description(
            name=self.naming.name,
            version=self.naming.version,
            backbone=record.backbone,
            recipe=target.form.text,
            classes=record.classes,
            preprocess=record.preprocess,
            decision=proof.decision,
            edgegraft_version=version("edgegraft"),
        )
        return describe(model, description)

    @cached_property
    def _trained(self) -> TrainedClassifier:
        return load_trained(self.run)

    def _source(self, target: Target) -> Source:
        key = (target.form.plan, target.engine)
        if key not in self._sources:
            self._sources[key] = make_source(self._load(*key), self.photos.calibration, self._on_photo)
        return self._sources[key]

    def _load(self, plan: Plan | None, engine: EngineKind) -> TrainedClassifier:
        if plan is None:
            return self._trained
        compressed = load_compressed(self.run, plan)
        # tf2onnx carries trained ranges over wrongly: ONNX gets the weights and finds ranges anew.
        return plain_form(self.run, compressed) if engine is EngineKind.ONNX else compressed

    @cached_property
    def _sources(self) -> dict[tuple[Plan | None, EngineKind], Source]:
        return {}

    def _on_photo(self, pixels: NDArray[np.uint8]) -> None:
        self.display.advance(1, "calibrating")


def _convert(target: Target, source: Source) -> bytes:
    convert = convert_tflite if target.engine is EngineKind.LITERT else convert_onnx
    return convert(source, target.recipe)


def _warned(outcome: Outcome, warning: str) -> Outcome:
    return replace(outcome, warnings=(*outcome.warnings, warning))


def _sentence(outcome: Outcome) -> str:
    if outcome.proof is None or not outcome.included:
        return f"{outcome.target.name:<18}  stays out: {outcome.reason}"
    measured = outcome.proof.measured
    return f"{outcome.target.name:<18}  agrees on {measured.agreement:.1%}, drop {measured.drop_points:+.2f} points"
