"""The classifier of a compressed form of a run. Imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.callbacks.state import unnumbered
from pipeline.callbacks.storage import read_tensors
from pipeline.compression.config import Plan
from pipeline.compression.quantisation import quantise, strip
from pipeline.compression.record import find_kept
from pipeline.errors import RunError
from pipeline.run import Run
from pipeline.trained import TrainedClassifier, load_trained


# No slots: the predictor is kept.
@dataclass(frozen=True)
class CompressedClassifier(TrainedClassifier):
    """As ``TrainedClassifier``.

    Attributes:
        quantised: the model holds fake quantisation: a converter takes its ranges and needs no calibration photos.
            Otherwise it is a plain float model of the run's architecture, and every converter takes it.
    """

    quantised: bool


def load_compressed(run: Run, plan: Plan) -> CompressedClassifier:
    """Rebuild a kept form with its weights.

    Raises:
        RunError: there is none, or its weights are missing or damaged.
    """
    kept = find_kept(run, plan)
    if kept is None:
        raise RunError(f"{run.folder}: holds no {plan.name}; compress it first")
    plain = load_trained(run)
    model = quantise(plain.model) if plan.qat else plain.model
    try:
        tensors, _ = read_tensors(kept.weights)
        model.set_weights(unnumbered(tensors, "weight"))
    except (OSError, ValueError) as err:
        raise RunError(f"{kept.weights}: missing or damaged ({err}); delete {kept.folder} and compress again") from err
    return CompressedClassifier(model, plain.normalisation, plain.size, plan.qat)


def plain_form(run: Run, compressed: CompressedClassifier) -> TrainedClassifier:
    """The float model with the weights that quantisation-aware training left, for converters that quantise themselves.

    tf2onnx makes a file of fake quantisation that loads and answers wrongly (25 % instead of 90 % on the flowers): for
    ONNX this one is the way, with ranges from calibration photos.

    Args:
        run: that it was made from.
        compressed: quantised; any other is given back as it is.
    """
    if not compressed.quantised:
        return compressed
    plain = load_trained(run)
    strip(compressed.model, plain.model)
    return plain
