"""Running a converted network over many photos: in order, on all workers, the same figures as TensorFlow's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.backbones import find_backbone
from pipeline.extract import Extractor
from pipeline.frozen import convert_frozen
from pipeline.model import normalise


@pytest.fixture(scope="module")
def two_outputs() -> bytes:
    """Of a (1, 4) float32 input: its sum, (1, 1), and its double, (1, 2, 2)."""
    return convert_frozen(
        lambda x: (tf.reduce_sum(x, axis=1, keepdims=True), tf.reshape(2.0 * x, (1, 2, 2))), (1, 4), tf.float32
    )


def _numbers(count: int) -> NDArray[np.float32]:
    return np.arange(4 * count, dtype=np.float32).reshape(count, 4)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 200])
def test_results_come_in_the_order_of_the_inputs(two_outputs: bytes, workers: int, count: int) -> None:
    inputs = _numbers(count)
    found = [float(row[0]) for row in Extractor(two_outputs, workers)(inputs)]
    assert found == inputs.sum(axis=1).tolist()


def test_outputs_are_counted_as_the_function_returned_them(two_outputs: bytes) -> None:
    extractor, inputs = Extractor(two_outputs, 2), _numbers(5)
    assert [row.shape for row in extractor(inputs, 0)] == [(1,)] * 5
    np.testing.assert_array_equal(np.stack(list(extractor(inputs, 1))), 2 * inputs.reshape(5, 2, 2))


def test_every_photo_is_counted_once_and_an_iterator_is_taken_as_it_comes(two_outputs: bytes) -> None:
    taken, done = [], []

    def inputs() -> Iterator[NDArray[np.float32]]:
        for row in _numbers(100):
            taken.append(1)
            yield row

    results = Extractor(two_outputs, 2)(inputs(), on_photo=lambda: done.append(1))
    next(results)
    # A set larger than memory must not be read at once.
    assert len(taken) < 100
    assert len(list(results)) == 99
    assert len(done) == 100


def test_a_result_is_the_callers_own(two_outputs: bytes) -> None:
    extractor = Extractor(two_outputs, 1)
    first, *_ = extractor(_numbers(1), 1)
    kept = first.copy()
    list(extractor(_numbers(50), 1))
    np.testing.assert_array_equal(first, kept)


def test_strided_photos_are_read_right(two_outputs: bytes) -> None:
    inputs = _numbers(6)[:, ::-1]
    np.testing.assert_array_equal(np.stack(list(Extractor(two_outputs, 1)(inputs, 1))).reshape(6, 4), 2 * inputs)


def test_a_network_answers_as_in_tensorflow(mobilenet_weights: object) -> None:
    backbone = find_backbone("mobilenetv2-0.35")
    base = backbone.build((96, 96, 3))
    backbone.load_weights(base, str(mobilenet_weights))

    def features(pixels: object) -> tuple[object, object]:
        maps = base(normalise(pixels, backbone.normalisation), training=False)
        return tf.reduce_mean(maps, (1, 2)), maps

    photos = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)
    extractor = Extractor(convert_frozen(features, (1, 96, 96, 3), tf.uint8), 2)
    pooled, maps = features(tf.constant(photos))
    np.testing.assert_allclose(np.stack(list(extractor(photos, 0))), pooled, atol=1e-4)
    np.testing.assert_allclose(np.stack(list(extractor(photos, 1))), maps, atol=1e-4)
