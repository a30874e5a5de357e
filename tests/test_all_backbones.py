"""Every backbone that the list shows: it trains, and exports with answers like its own.

To every recipe; where another of the list has the same blocks, to some. Random weights and drawn textures: nothing is
downloaded. Networks that differ in width alone stand for each other.
"""

from __future__ import annotations

import faulthandler
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from device.contract import Decision, EngineKind
from export.onnx import convert_onnx
from export.parity import Proof, Reference, prove_variant
from export.recipe import Form, Recipe, Target, targets
from export.source import make_source
from export.tflite import convert_tflite
from pipeline.backbones import find_backbone
from pipeline.backbones.registry import BACKBONE_NAMES
from pipeline.config import HeadConfig
from pipeline.model import LOGITS, build_classifier, normalise
from pipeline.run import ExportPhotos
from pipeline.trained import TrainedClassifier

CLASSES = ("checks", "dots", "noise", "stripes")
PER_CLASS = 6
# Of the right class's logit over the others', on average.
MARGIN = 6.0

OTHER_WIDTHS = re.compile(r"mobilenetv1-(0\.5|0\.75|1\.0)|mobilenetv2-(0\.5|0\.75|1\.0|1\.3|1\.4)")
EVERY = [name for name in BACKBONE_NAMES if not OTHER_WIDTHS.fullmatch(name)]
# The same blocks as another of the list, more of them: one recipe for each engine will do.
DEEPER = re.compile(r"efficientnet-lite[1-4]|resnet34|resnet1\d\d|resnet1\d\d-torch|vgg19|vgg19-torch|vgg16-torch")
# Again the same blocks, in yet another number: that a file answers as the network does is all there is left to show.
SAME_AGAIN = re.compile(r"efficientnet-lite[123]|resnet152|resnet152-torch|vgg19-torch")


@dataclass(frozen=True, slots=True)
class _Examined:
    """What a child process found out about a backbone.

    Attributes:
        loss: of a training step.
        moved: of every trainable variable, in order, whether the step changed it.
        accuracy: of the classifier on what its head was fitted to.
        proofs: of every target.
    """

    loss: float
    moved: list[bool]
    accuracy: float
    proofs: list[tuple[Target, Proof]]


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
def test_a_backbone_trains_and_exports(name: str) -> None:
    # Each in a process of its own: one for all grows to 18 GB. What it has to say on its way is captured with the rest.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=faulthandler.enable) as child:
        found = child.submit(_examine, name).result()
    assert np.isfinite(found.loss)
    assert found.moved[0] and found.moved[-1]
    assert np.mean(found.moved) > 0.9
    assert found.accuracy > 0.5  # chance is 0.25
    for target, proof in found.proofs:
        if target.recipe is Recipe.FLOAT32:
            assert proof.measured.agreement == 1.0
            assert proof.measured.worst_difference < 1e-3, target.name
        elif DEEPER.fullmatch(name):
            # A hundred layers of random weights amplify rounding beyond use (ResNet-152 agreed on 29 %, chance is 25):
            # int8 is shown to convert and to answer, not to be right; trained weights would be needed for that.
            assert float(np.ptp(proof.probabilities, axis=0).max()) > 0.0, target.name
        else:
            # Random weights amplify rounding from layer to layer, trained ones do not; chance would agree on 25 %.
            assert proof.measured.agreement >= 0.5, target.name
            assert proof.measured.mean_difference < 0.25, target.name


def _examine(name: str) -> _Examined:
    tf_keras.utils.set_random_seed(3)
    backbone = find_backbone(name)
    pixels, labels = _textures(backbone.least_size)
    classifier = build_classifier(backbone, len(CLASSES), pixels.shape[1], HeadConfig())
    inputs = normalise(tf.constant(pixels), backbone.normalisation)
    loss, moved = _train_a_little(classifier, inputs, labels)
    _settle_batch_norm(classifier, inputs)
    _fit_head(classifier, inputs, labels)
    trained = TrainedClassifier(classifier, backbone.normalisation, (pixels.shape[1], pixels.shape[2]))
    reference = trained.predict(pixels)
    accuracy = float((reference.argmax(axis=1) == labels).mean())
    proofs = [(target, _proof(trained, target, pixels, labels, reference)) for target in _targets(name)]
    return _Examined(loss, moved, accuracy, proofs)


def _targets(name: str) -> tuple[Target, ...]:
    if SAME_AGAIN.fullmatch(name):
        return (Target(EngineKind.LITERT, Form(Recipe.FLOAT32)),)
    if DEEPER.fullmatch(name):
        return Target(EngineKind.LITERT, Form(Recipe.STATIC_INT8)), Target(EngineKind.ONNX, Form(Recipe.FLOAT32))
    return targets((Form(Recipe.FLOAT32), Form(Recipe.STATIC_INT8)))


def _train_a_little(classifier: tf_keras.Model, inputs: Any, labels: NDArray[np.int64]) -> tuple[float, list[bool]]:
    """One step: its loss, and which of the trainable variables it changed."""
    before = [variable.numpy() for variable in classifier.trainable_variables]
    # Adam moves every weight that has a gradient, however small, and none far.
    classifier.compile(tf_keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy", run_eagerly=True)
    loss = float(classifier.train_on_batch(inputs, labels))
    pairs = zip(before, classifier.trainable_variables, strict=True)
    return loss, [bool((old != new.numpy()).any()) for old, new in pairs]


def _settle_batch_norm(classifier: tf_keras.Model, inputs: Any) -> None:
    """Statistics of these pictures: a deep network with random weights and none gives one answer to everything."""
    norms = [layer for layer in classifier.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    classifier(inputs, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def _fit_head(classifier: tf_keras.Model, inputs: Any, labels: NDArray[np.int64]) -> None:
    """Strong ridge regression from features to classes, scaled so that answers are sure and a wrong one shows.

    A weak ridge would lean on the least of the features, which are the first that quantisation blurs.
    """
    head = classifier.get_layer(LOGITS)
    features = tf_keras.Model(classifier.input, head.input)(inputs, training=False).numpy().astype(np.float64)
    one_hot = np.eye(len(CLASSES))[labels]
    centred = features - features.mean(axis=0)
    gram = centred @ centred.T
    kernel = centred.T @ np.linalg.solve(gram + np.trace(gram) / len(gram) * np.eye(len(gram)), one_hot)
    scores = centred @ kernel
    margin = (scores[one_hot == 1].mean() - scores[one_hot == 0].mean()) / MARGIN
    head.set_weights([kernel / margin, -features.mean(axis=0) @ kernel / margin])


def _proof(
    trained: TrainedClassifier,
    target: Target,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    reference: NDArray[np.float32],
) -> Proof:
    convert = convert_tflite if target.engine is EngineKind.LITERT else convert_onnx
    model = convert(make_source(trained, pixels), target.recipe)
    photos = ExportPhotos(pixels, pixels, labels, pixels[:0])
    return prove_variant(target, model, photos, Reference(reference, Decision(), labels, CLASSES))


def _textures(size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(24, size, size, 3) uint8 drawings in many colours, and their (24,) classes."""
    random = np.random.default_rng(size)
    y, x = np.mgrid[:size, :size]
    pictures = []
    for _ in range(PER_CLASS):
        period = int(random.integers(6, 12))
        masks = (
            (x // period + y // period) % 2,
            ((x % period - period / 2) ** 2 + (y % period - period / 2) ** 2 < (period / 3) ** 2),
            random.integers(0, 2, (size, size)),
            (x // period) % 2,
        )
        for mask in masks:
            dark, light = random.uniform(0, 100, 3), random.uniform(155, 255, 3)
            picture = np.where(np.asarray(mask, bool)[..., None], light, dark) + random.normal(0, 4, (size, size, 3))
            pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return np.stack(pictures), np.tile(np.arange(len(CLASSES)), PER_CLASS)
