"""A foreign classifier to a proven Bundle: look at it, learn how it wants its pixels, add what it lacks, prove it."""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.contract import Decision, EngineKind, PreprocessSpec, TensorSpec
from device.prediction import calibrate
from export.adopt import child
from export.adopt.config import AdoptConfig, Adopted, Declared, Source
from export.adopt.errors import AdoptError
from export.adopt.interface import Interface, OutputKind, Surgery
from export.adopt.labels import Labels, parse_labels, read_labels
from export.adopt.photos import ProofPhotos, load_photos
from export.adopt.plan import judge_output, plan_surgery, to_probabilities
from export.adopt.sandbox import Sandbox
from export.adopt.trials import Trials, candidates, some_of
from export.adopt.verdict import check_parity, check_useful, compare, find_warnings
from export.adopt.write import Proved, write_adopted
from pipeline.backbones.base import Normalisation
from pipeline.calibrate import fit_decision
from pipeline.display import Display, Silent
from pipeline.metrics import score

MODEL_LIMIT_BYTES = 512 * 1024**2
_ENGINES = {".tflite": EngineKind.LITERT, ".onnx": EngineKind.ONNX}


@dataclass(frozen=True, slots=True)
class _Chosen:
    """How the model is fed."""

    name: str
    normalisation: Normalisation
    given_by: str


def adopt_model(config: AdoptConfig, display: Display | None = None) -> Adopted:
    """Make a bundle of a foreign model.

    Raises:
        AdoptError: the model, its labels or the photos do not do, or the result is not proved; no bundle is written.
        DatasetError: the folder of photos cannot be read.
        OSError: a file cannot be read or written.
    """
    start, display = time.monotonic(), display or Silent()
    source, model = _read(config.model)
    given = read_labels(config.labels) if config.labels else None
    with tempfile.TemporaryDirectory(prefix="edgegraft-") as folder:
        sandbox = Sandbox(Path(folder), model)
        try:
            interface, declared = _inspect(sandbox, source.engine, config.size)
            labels = given or _declared_labels(declared)
            _require_classes(labels, interface.output.classes)
            spec = PreprocessSpec(height=interface.input.height, width=interface.input.width, fit=config.fit)
            photos = load_photos(config.data, labels, spec, display)
            wanted = config.preprocess or declared.normalisation
            trials, kind, interface = _try(sandbox, source.engine, interface, photos, wanted, labels, display)
            chosen = _choose(trials, config, declared)
            proof = _prove(sandbox, source.engine, interface, chosen, kind, photos, display)
        except AdoptError as err:
            raise AdoptError(f"{config.model}: {err}") from err
        adapted = sandbox.adapted()
    answers = proof.answers
    decision = _decide(proof, photos)
    scores = score(calibrate(answers, decision.temperature), photos.labels, labels.names)
    check_useful(config.model, answers, scores, trials)
    adopted = Adopted(
        bundle=config.out,
        version=config.version,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source=source,
        interface=interface,
        kind=kind,
        preprocess=chosen.name,
        preprocess_from=chosen.given_by,
        normalisation=chosen.normalisation,
        surgery=proof.surgery,
        classes=labels.names,
        spec=spec,
        decision=decision,
        fitted_on=int(photos.fitting.sum()),
        measured=compare(answers, proof.reference, photos.labels, decision, ~photos.fitting),
        scores=scores,
        trials=trials.ranked(),
        notes=(*labels.notes, *photos.notes),
        left_out=photos.left_out,
        warnings=find_warnings(answers, photos.labels, scores, trials, chosen.name),
        seconds=time.monotonic() - start,
    )
    write_adopted(adopted, Proved(adapted, proof.input, proof.output, photos.pixels, photos.labels, answers))
    return adopted


@dataclass(frozen=True, slots=True)
class _Proof:
    """Answers are (n, classes) float32 probabilities; ``unknown`` to photos of no class."""

    surgery: Surgery
    answers: NDArray[np.float32]
    reference: NDArray[np.float32]
    unknown: NDArray[np.float32]
    input: TensorSpec
    output: TensorSpec


def _read(path: Path) -> tuple[Source, bytes]:
    if not path.is_file():
        raise AdoptError(f"{path}: no such model file")
    engine = _ENGINES.get(path.suffix.lower())
    if engine is None:
        raise AdoptError(f"{path}: expected a .tflite or .onnx file; convert it to one of them")
    size = path.stat().st_size
    if not 0 < size <= MODEL_LIMIT_BYTES:
        raise AdoptError(f"{path}: {size} bytes; a model for a board has 1 to {MODEL_LIMIT_BYTES}")
    model = path.read_bytes()
    return Source(path.name, engine, hashlib.sha256(model).hexdigest(), len(model)), model


def _inspect(sandbox: Sandbox, engine: EngineKind, size: int) -> tuple[Interface, Declared]:
    found = sandbox.do(child.Inspect(engine, size))
    assert found.interface is not None and found.declared is not None
    return found.interface, found.declared


def _declared_labels(declared: Declared) -> Labels:
    if not declared.labels:
        why = f" ({declared.problem})" if declared.problem else ""
        raise AdoptError(
            f"the file holds no labels{why}; name its classes with --labels FILE, one a line in the order of its "
            f"outputs"
        )
    return parse_labels("\n".join(declared.labels).encode(), "the labels inside the file")


def _require_classes(labels: Labels, outputs: int) -> None:
    count = len(labels.names)
    if outputs in (0, count):
        return
    advice = "give the labels that belong to it"
    if outputs == count + 1:
        advice = "if its first output is 'background', put that on a line of its own in front of the labels"
    elif outputs == count - 1:
        advice = f"if the labels begin with a background class ('{labels.names[0]}'?), delete that line"
    raise AdoptError(f"the model has {outputs} outputs, but {count} labels came; {advice}")


def _try(
    sandbox: Sandbox,
    engine: EngineKind,
    interface: Interface,
    photos: ProofPhotos,
    wanted: Normalisation | None,
    labels: Labels,
    display: Display,
) -> tuple[Trials, OutputKind, Interface]:
    """Feed the original in several ways; also says what its answers are, and how many, where the file does not."""
    ways = candidates(interface.input, wanted)
    some = some_of(photos.labels)
    display.begin("trying", len(ways) * len(some), "photo")
    task = child.RunOriginal(engine, interface, tuple(normalisation for _, normalisation in ways))
    raw, _ = sandbox.answer(task, photos.pixels[some], display.advance)
    display.end()
    _require_classes(labels, raw.shape[2])
    right = raw.argmax(axis=2) == photos.labels[some]
    trials = Trials(tuple(name for name, _ in ways), tuple(way for _, way in ways), right)
    taken = 0 if wanted else trials.best
    output = interface.output
    kind = judge_output(raw[taken], output.quantisation is not None)
    flat = output.flat and output.classes == raw.shape[2]
    known = type(output)(output.name, raw.shape[2], output.dtype, output.quantisation, flat)
    return trials, kind, Interface(interface.input, known)


def _choose(trials: Trials, config: AdoptConfig, declared: Declared) -> _Chosen:
    if config.preprocess or declared.normalisation:
        source = "--preprocess" if config.preprocess else "the file's metadata"
        return _Chosen(trials.names[0], trials.normalisations[0], source)
    best = trials.best
    return _Chosen(
        trials.names[best], trials.normalisations[best], "the best of those tried; --preprocess says another"
    )


def _prove(
    sandbox: Sandbox,
    engine: EngineKind,
    interface: Interface,
    chosen: _Chosen,
    kind: OutputKind,
    photos: ProofPhotos,
    display: Display,
) -> _Proof:
    """Add what is lacking, and compare with the original on every photo."""
    surgery = plan_surgery(interface, chosen.normalisation, kind)
    pixels = np.concatenate([photos.pixels, photos.unknown])
    display.begin("proving", 2 * len(pixels), "photo")
    task = child.Prove(engine, interface, chosen.normalisation, surgery)
    (raw, answers), result = sandbox.answer(task, pixels, display.advance)
    display.end()
    # What held for the first photos must hold for all.
    judge_output(raw, interface.output.quantisation is not None)
    reference = to_probabilities(raw, kind)
    check_parity(answers, reference, interface, surgery)
    assert result.input is not None and result.output is not None
    n = len(photos.labels)
    return _Proof(surgery, answers[:n], reference[:n], answers[n:], result.input, result.output)


def _decide(proof: _Proof, photos: ProofPhotos) -> Decision:
    if not photos.fitting.any():
        return Decision()
    return fit_decision(
        proof.answers[photos.fitting], photos.labels[photos.fitting], proof.unknown[photos.unknown_fitting]
    )
