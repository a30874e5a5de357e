"""Heat maps: both ways agree, and they point at what a classifier of hand-set weights looks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backbones import Normalisation
from pipeline.explain import gradient_heatmaps, last_feature_layer, linear_heatmaps, overlay

SIDE = 32
NORMALISATION = Normalisation((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))


@pytest.fixture(scope="module")
def colour_model() -> Any:
    """Three classes, each its colour: a convolution of one channel each, pooled, one dense layer."""
    from tf_keras import Model, layers

    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.AveragePooling2D(4)(inputs)
    x = layers.Conv2D(3, 1, use_bias=False, name="colours")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = layers.Dense(3, name="logits")(x)
    model = Model(inputs, layers.Softmax(name="probabilities")(x))
    model.get_layer("colours").set_weights([np.eye(3, dtype=np.float32)[None, None]])
    model.get_layer("logits").set_weights([5 * np.eye(3, dtype=np.float32) - 1, np.zeros(3, np.float32)])
    return model


def _corners() -> NDArray[np.uint8]:
    """A red square at the upper left and a blue one at the lower right, twice."""
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[4:12, 4:12, 0] = 255
    picture[20:28, 20:28, 2] = 255
    return np.stack([picture, picture])


def _peak(heat: NDArray[np.float32]) -> tuple[int, int]:
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(y), int(x)


def test_the_heat_is_on_the_thing_that_the_class_is_about(colour_model: Any) -> None:
    red, blue = gradient_heatmaps(colour_model, NORMALISATION, _corners(), np.array([0, 2]), "colours")
    assert red.dtype == np.float32
    assert all(4 <= place < 12 for place in _peak(red))
    assert all(20 <= place < 28 for place in _peak(blue))
    assert (red.max(), red.min()) == (1.0, 0.0)
    assert red[20:28, 20:28].max() < 0.05


def test_a_class_that_nothing_speaks_for_has_no_heat(colour_model: Any) -> None:
    green = gradient_heatmaps(colour_model, NORMALISATION, _corners(), np.array([1, 1]), "colours")
    assert green.shape == (2, SIDE, SIDE)
    assert not green.any()


def test_without_gradients_the_heat_is_the_same(colour_model: Any) -> None:
    import tf_keras

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, SIDE, SIDE, 3), np.uint8)  # more than a batch
    kernel = random.normal(size=(3, 3)).astype(np.float32)
    colour_model.get_layer("logits").set_weights([kernel, random.normal(size=3).astype(np.float32)])
    wanted = random.integers(0, 3, 20)
    maps = tf_keras.Model(colour_model.input, colour_model.get_layer("colours").output)(pixels / 255.0).numpy()
    by_gradient = gradient_heatmaps(colour_model, NORMALISATION, pixels, wanted, "colours")
    np.testing.assert_allclose(linear_heatmaps(maps, kernel, wanted, (SIDE, SIDE)), by_gradient, atol=1e-4)


def test_no_photos_give_no_heat(colour_model: Any) -> None:
    nothing = np.empty((0, SIDE, SIDE, 3), np.uint8)
    assert gradient_heatmaps(colour_model, NORMALISATION, nothing, np.empty(0, int), "colours").shape == (0, SIDE, SIDE)
    assert linear_heatmaps(np.empty((0, 4, 4, 3)), np.eye(3), np.empty(0, int), (SIDE, 20)).shape == (0, SIDE, 20)


def test_the_last_layer_with_places_is_found(colour_model: Any) -> None:
    from tf_keras import Sequential, layers

    assert last_feature_layer(colour_model) == "colours"
    flat = Sequential([layers.Input((4, 4, 1)), layers.Conv2D(2, 3, name="c"), layers.Flatten(), layers.Dense(2)])
    assert last_feature_layer(flat) == "c"
    with pytest.raises(ValueError, match="no layer gives"):
        last_feature_layer(Sequential([layers.Input((4,)), layers.Dense(2)]))


def test_the_overlay_colours_only_the_heat() -> None:
    photo = np.full((8, 8, 3), 200, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[:4] = 1.0
    shown = overlay(photo, heat)
    assert (shown.shape, shown.dtype) == (photo.shape, np.uint8)
    cold, hot = shown[6, 0].astype(int), shown[0, 0].astype(int)
    assert np.ptp(cold) <= 4
    # yellow
    assert hot[0] > hot[2] + 20 and hot[1] > hot[2] + 20
    assert hot.sum() > cold.sum()
