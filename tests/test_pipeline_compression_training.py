"""How compressed networks are trained: what they imitate, which weights they lose, what batch norm may learn."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from pipeline.backbones import find_backbone
from pipeline.compression.imitation import imitation_loss, targets_from, with_features
from pipeline.compression.norms import take_norms, with_fixed_statistics
from pipeline.compression.pruning import densities
from pipeline.config import HeadConfig
from pipeline.distillation import TEMPERATURE, make_loss, soften
from pipeline.model import build_classifier, normalise
from pipeline.trained import TrainedClassifier

CLASSES = 3


def test_small_kernels_keep_more_and_all_together_the_share_that_was_asked_for() -> None:
    shapes = {"narrow": (1, 1, 16, 8), "middle": (1, 1, 64, 96), "wide": (1, 1, 112, 1280), "square": (3, 3, 64, 64)}
    kept = densities(shapes, 0.5)
    sizes = {name: np.prod(shape) for name, shape in shapes.items()}
    assert sum(kept[name] * sizes[name] for name in shapes) == pytest.approx(0.5 * sum(sizes.values()))
    assert kept["narrow"] == 1.0 >= kept["middle"] > kept["wide"] > 0
    assert max(kept.values()) <= 1.0


@pytest.fixture(scope="module")
def teacher() -> TrainedClassifier:
    tf_keras.utils.set_random_seed(4)
    backbone = find_backbone("lenet5")
    return TrainedClassifier(build_classifier(backbone, CLASSES, 32, HeadConfig()), backbone.normalisation, (32, 32))


def test_targets_are_labels_softened_answers_and_features(teacher: TrainedClassifier) -> None:
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)), tf.float32)
    hard = tf.one_hot([0, 1, 2, 0, 1], CLASSES)
    targets = targets_from(teacher)(pixels, hard).numpy()
    inputs = normalise(pixels, teacher.normalisation)
    np.testing.assert_array_equal(targets[:, :CLASSES], hard)
    expected = soften(teacher.model(inputs, training=False), TEMPERATURE)
    np.testing.assert_allclose(targets[:, CLASSES : 2 * CLASSES], expected, atol=1e-5)
    pooled = tf_keras.Model(teacher.model.input, teacher.model.get_layer("head_pool").output)(inputs, training=False)
    np.testing.assert_allclose(targets[:, 2 * CLASSES :], pooled, atol=1e-5)


def test_a_model_that_shares_its_layers_gives_features_of_its_own(teacher: TrainedClassifier) -> None:
    shared = tf_keras.models.clone_model(teacher.model, clone_function=lambda layer: layer)
    found = with_features(shared)(tf.zeros((2, 32, 32, 3)), training=False)
    assert found.shape == (2, CLASSES + 84)


def test_the_loss_counts_the_share_of_variance_that_is_not_matched() -> None:
    random = np.random.default_rng(1)
    answers = tf.nn.softmax(random.normal(size=(16, CLASSES))).numpy().astype(np.float32)
    features = random.normal(size=(16, 20)).astype(np.float32)
    targets = np.concatenate([np.eye(CLASSES, dtype=np.float32)[random.integers(CLASSES, size=16)], answers], axis=1)
    whole, loss = np.concatenate([targets, features], axis=1), imitation_loss(CLASSES, 0.1)
    of_answers = float(make_loss(CLASSES, 0.1, taught=True)(targets, answers))
    matched = float(loss(whole, np.concatenate([answers, features], axis=1)))
    mean = np.broadcast_to(features.mean(axis=0), features.shape)
    unmatched = float(loss(whole, np.concatenate([answers, mean], axis=1)))
    assert matched == pytest.approx(of_answers, rel=1e-5)
    assert unmatched == pytest.approx(of_answers + 3.0, rel=1e-4)


def test_batch_norm_learns_its_scale_and_keeps_its_statistics() -> None:
    image = tf_keras.layers.Input((8,))
    x = tf_keras.layers.BatchNormalization(name="norm")(tf_keras.layers.Dense(6, name="dense")(image))
    plain = tf_keras.Model(image, x)
    gamma, beta, mean, variance = (np.random.default_rng(i).uniform(0.5, 2, 6).astype(np.float32) for i in range(4))
    plain.get_layer("norm").set_weights([gamma, beta, mean, variance])
    inputs = np.random.default_rng(9).normal(5, 3, (32, 8)).astype(np.float32)
    before = plain(inputs, training=False).numpy()
    fixed = with_fixed_statistics(plain)
    np.testing.assert_allclose(fixed(inputs, training=True), before, rtol=1e-5)
    fixed.compile(tf_keras.optimizers.Adam(0.1), "mse")
    fixed.fit(inputs, np.zeros((32, 6)), epochs=3, verbose=0)
    take_norms(fixed, plain)
    learned = plain.get_layer("norm").get_weights()
    assert (learned[0] != gamma).all()
    assert (learned[1] != beta).all()
    np.testing.assert_array_equal(learned[2], mean)
    np.testing.assert_array_equal(learned[3], variance)
    np.testing.assert_allclose(plain(inputs, training=False), fixed(inputs, training=False), rtol=1e-5)
