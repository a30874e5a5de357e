"""The classifier: normalisation as the weights' authors define it, a flat graph, predictions in batches."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.backbones import find_backbone
from pipeline.config import HeadConfig
from pipeline.model import LOGITS, POOL, Predictor, build_classifier, normalise


def _every_byte() -> NDArray[np.uint8]:
    """(3, 16, 16, 3): each byte in each channel, the channels different."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    return np.stack([np.stack([ramp, ramp[::-1], ramp.T], axis=-1)] * 3)


@pytest.mark.parametrize(
    ("name", "official"),
    [
        ("mobilenetv1-0.25", tf_keras.applications.mobilenet.preprocess_input),
        ("mobilenetv2-1.0", tf_keras.applications.mobilenet_v2.preprocess_input),
        ("resnet50", tf_keras.applications.resnet50.preprocess_input),
    ],
)
def test_normalisation_is_that_of_keras(name: str, official: object) -> None:
    expected = official(_every_byte().astype(np.float32))  # type: ignore[operator]
    found = normalise(tf.constant(_every_byte()), find_backbone(name).normalisation)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_normalisation_of_efficientnet_lite() -> None:
    # github.com/tensorflow/tpu, efficientnet/lite: MEAN_RGB = 127.0, STDDEV_RGB = 128.0
    found = normalise(tf.constant(_every_byte()), find_backbone("efficientnet-lite0").normalisation)
    np.testing.assert_allclose(found.numpy(), (_every_byte().astype(np.float32) - 127.0) / 128.0, atol=1e-6)


@pytest.mark.parametrize("name", ["mobilenetv2-0.35", "resnet50"])
def test_bytes_and_floats_are_normalised_alike(name: str) -> None:
    normalisation = find_backbone(name).normalisation
    found = normalise(tf.constant(_every_byte().astype(np.float32)), normalisation)
    np.testing.assert_array_equal(found.numpy(), normalise(tf.constant(_every_byte()), normalisation).numpy())
    assert found.dtype == tf.float32


@pytest.fixture(scope="module")
def classifier() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(1)
    return build_classifier(find_backbone("mobilenetv2-0.35"), 4, 32, HeadConfig(dropout=0.5))


def test_the_graph_is_flat_and_ends_in_the_head(classifier: tf_keras.Model) -> None:
    assert not [layer.name for layer in classifier.layers if isinstance(layer, tf_keras.Model)]
    assert [layer.name for layer in classifier.layers[-4:]] == [POOL, "head_dropout", LOGITS, "probabilities"]
    assert classifier.input_shape == (None, 32, 32, 3)
    assert classifier.output_shape == (None, 4)


@pytest.mark.parametrize("count", [0, 1, 33])
def test_predictions_in_batches_are_those_of_single_photos(classifier: tf_keras.Model, count: int) -> None:
    predict = Predictor(classifier, find_backbone("mobilenetv2-0.35").normalisation)
    photos = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    found = predict(photos)
    assert found.shape == (count, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    if count:
        alone = predict(photos[-1:])
        np.testing.assert_allclose(found[-1], alone[0], atol=1e-5)


def test_predictions_repeat_though_the_model_has_dropout(classifier: tf_keras.Model) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    predict = Predictor(classifier, find_backbone("mobilenetv2-0.35").normalisation)
    np.testing.assert_array_equal(predict(photos), predict(photos))


def test_a_predictor_sees_weights_that_were_changed_after_it_was_made() -> None:
    model = build_classifier(find_backbone("lenet5"), 3, 32, HeadConfig())
    predict = Predictor(model, find_backbone("lenet5").normalisation)
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    predict(photos)
    model.get_layer(LOGITS).set_weights([np.zeros((84, 3), np.float32), np.log(np.float32([1, 2, 5]))])
    np.testing.assert_allclose(predict(photos), [[0.125, 0.25, 0.625]] * 2, atol=1e-6)


def test_every_layer_of_a_larger_head_stands_in_its_place() -> None:
    head = HeadConfig(hidden=8, batch_norm=True, dropout=0.3)
    model = build_classifier(find_backbone("mobilenetv2-0.35"), 4, 32, head)
    names = [layer.name for layer in model.layers[-6:]]
    assert names == [POOL, "head_bn", "head_hidden", "head_dropout", LOGITS, "probabilities"]
    assert model.get_layer("head_hidden").kernel.shape == (1280, 8)
    assert model.get_layer(LOGITS).kernel.shape == (8, 4)
    assert model.get_layer("head_dropout").rate == 0.3


def test_a_network_that_flattens_by_itself_gets_the_same_head() -> None:
    model = build_classifier(find_backbone("lenet5"), 4, 32, HeadConfig())
    assert [layer.name for layer in model.layers[-3:]] == [POOL, LOGITS, "probabilities"]
    assert model.get_layer(LOGITS).kernel.shape == (84, 4)
