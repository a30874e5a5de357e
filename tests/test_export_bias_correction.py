"""Bias correction: the rounded network has the float network's mean in every channel."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

from export.bias_correction import BiasCorrector, Rounding
from pipeline.backbones import Normalisation
from pipeline.model import normalise
from pipeline.trained import TrainedClassifier

SIZE = 12
NORMALISATION = Normalisation(mean=(0.0, 0.0, 0.0), scale=(255.0, 255.0, 255.0))


@pytest.fixture
def photos() -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (40, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def trained() -> TrainedClassifier:
    tf_keras.utils.set_random_seed(1)
    image = layers.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="first")(image)
    x = layers.ReLU()(layers.BatchNormalization(name="first_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="deep")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="deep_bn")(x))
    x = layers.Conv2D(6, 1, name="second")(x)
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    model = tf_keras.Model(image, layers.Softmax()(x))
    random = np.random.default_rng(2)
    for name in ("first_bn", "deep_bn"):
        norm = model.get_layer(name)
        norm.set_weights([random.uniform(0.5, 2.0, weight.shape) for weight in norm.get_weights()])
    return TrainedClassifier(model, NORMALISATION, (SIZE, SIZE))


def _rounded(model: tf_keras.Model, names: tuple[str, ...], levels: int) -> tf_keras.Model:
    """Kernels rounded symmetrically, a scale per output channel."""
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name in names:
        layer = copy.get_layer(name)
        kernel, *rest = layer.get_weights()
        axes = (0, 1) if name == "deep" else tuple(range(kernel.ndim - 1))
        scale = np.abs(kernel).max(axis=axes, keepdims=True) / levels
        layer.set_weights([np.round(kernel / scale) * scale, *rest])
    return copy


def _means(model: tf_keras.Model, photos: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    probe = tf_keras.Model(model.input, model.get_layer(name).output)
    maps = probe(normalise(photos, NORMALISATION), training=False).numpy()
    return np.asarray(maps.reshape(-1, maps.shape[-1]).mean(axis=0))


EVERY = ("first", "deep", "second", "logits")


# Few levels, so that the shift is far above the rounding of float32.
@pytest.mark.parametrize("levels", [7, 15])
def test_the_means_of_the_rounded_network_are_those_of_the_float_network(
    trained: TrainedClassifier, photos: NDArray[np.uint8], levels: int
) -> None:
    corrected = BiasCorrector(trained, photos).corrected(Rounding(levels=levels))
    plain, mended = _rounded(trained.model, EVERY, levels), _rounded(corrected.model, EVERY, levels)
    # Exact where the input is exact; behind it the inputs of the rounded network are a little off.
    exact = _means(trained.model, photos, "first_bn")
    assert np.abs(_means(plain, photos, "first_bn") - exact).max() > 0.01
    np.testing.assert_allclose(_means(mended, photos, "first_bn"), exact, atol=1e-4)
    for name in ("deep_bn", "logits"):
        exact = _means(trained.model, photos, name)
        before, after = (np.abs(_means(model, photos, name) - exact).mean() for model in (plain, mended))
        assert after < 0.5 * before, name


def test_the_trained_model_stays_as_it_is(trained: TrainedClassifier, photos: NDArray[np.uint8]) -> None:
    before = trained.model.get_weights()
    corrected = BiasCorrector(trained, photos).corrected(Rounding(levels=7))
    assert all((old == new).all() for old, new in zip(before, trained.model.get_weights(), strict=True))
    assert any((old != new).any() for old, new in zip(before, corrected.model.get_weights(), strict=True))


def _changed(trained: TrainedClassifier, corrected: TrainedClassifier) -> set[str]:
    pairs = zip(trained.model.layers, corrected.model.layers, strict=True)
    return {
        layer.name
        for layer, other in pairs
        if any((old != new).any() for old, new in zip(layer.get_weights(), other.get_weights(), strict=True))
    }


def test_biases_alone_change_where_they_are_kept(trained: TrainedClassifier, photos: NDArray[np.uint8]) -> None:
    corrected = BiasCorrector(trained, photos).corrected(Rounding(levels=7))
    assert _changed(trained, corrected) == {"first_bn", "deep_bn", "second", "logits"}


def test_layers_that_stay_in_float_are_left_alone(trained: TrainedClassifier, photos: NDArray[np.uint8]) -> None:
    corrector = BiasCorrector(trained, photos)
    kept = frozenset({"classifier/first_bn/FusedBatchNormV3;classifier/first/Conv2D", "classifier/logits/MatMul"})
    assert _changed(trained, corrector.corrected(Rounding(levels=7, in_float=kept))) == {"deep_bn", "second"}


def test_tensors_too_small_to_be_rounded_are_left_alone(trained: TrainedClassifier, photos: NDArray[np.uint8]) -> None:
    found = BiasCorrector(trained, photos).corrected(Rounding(levels=7, least_weights=100))
    assert _changed(trained, found) == {"first_bn"}


def test_one_scale_for_a_tensor_shifts_more_than_one_for_each_channel(
    trained: TrainedClassifier, photos: NDArray[np.uint8]
) -> None:
    corrector = BiasCorrector(trained, photos)
    before = trained.model.get_layer("first_bn").moving_mean.numpy()
    shifts = [
        np.abs(corrector.corrected(rounding).model.get_layer("first_bn").moving_mean.numpy() - before).mean()
        for rounding in (Rounding(levels=7), Rounding(levels=7, per_channel=False))
    ]
    assert shifts[1] > shifts[0] > 0
