"""The linear head: what L-BFGS finds is the optimum of the penalised loss, and validation chooses the penalty."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.head import LinearHead, fit_linear_head

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]


def _clusters(count: int, spread: float, seed: int, classes: int = 4, width: int = 12) -> Arrays:
    """(count, width) around a centre per class; columns of very different scale and offset, one of them constant."""
    centres = np.random.default_rng(99).normal(size=(classes, width))
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    features = centres[labels] + spread * random.normal(size=(count, width))
    features = features * np.geomspace(0.05, 20, width) + np.linspace(-5, 50, width)
    features[:, 3] = 7.0
    return features.astype(np.float32), labels


def _fit(spread: float = 0.3, smoothing: float = 0.0) -> tuple[LinearHead, Arrays, Arrays]:
    train, validation = _clusters(200, spread, 1), _clusters(80, spread, 2)
    return fit_linear_head(*train, *validation, 4, smoothing), train, validation


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_classes_that_lie_apart_are_told_apart() -> None:
    head, _, validation = _fit()
    assert head.accuracy == 1.0
    assert (head.probabilities(validation[0]).argmax(axis=1) == validation[1]).all()
    assert head.loss < 0.1


def test_probabilities_are_the_softmax_of_features_times_kernel_plus_bias() -> None:
    head, _, (features, labels) = _fit(spread=1.0)
    assert (head.kernel.shape, head.bias.shape) == ((12, 4), (4,))
    assert (head.kernel.dtype, head.bias.dtype) == (np.float32, np.float32)
    expected = _softmax(features.astype(np.float64) @ head.kernel + head.bias)
    found = head.probabilities(features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert head.loss == pytest.approx(-np.log(expected[np.arange(80), labels]).mean(), rel=1e-3)
    assert head.accuracy == (expected.argmax(axis=1) == labels).mean()


def _gradient(head: LinearHead, train: Arrays, smoothing: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the penalised loss on standardised features, at what was found."""
    features = train[0].astype(np.float64)
    deviation = np.maximum(features.std(axis=0), np.median(features.std(axis=0)))
    standardised = (features - features.mean(axis=0)) / deviation
    targets = np.eye(4)[train[1]] * (1 - smoothing) + smoothing / 4
    error = (_softmax(features @ head.kernel + head.bias) - targets) / len(features)
    return standardised.T @ error + head.penalty * head.kernel * deviation[:, np.newaxis], error.sum(axis=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_is_found_is_the_optimum_also_in_the_scale_of_the_raw_features(smoothing: float) -> None:
    head, train, _ = _fit(spread=1.0, smoothing=smoothing)
    of_kernel, of_bias = _gradient(head, train, smoothing)
    # At zero weights the largest entry is about 0.3.
    assert np.abs(of_kernel).max() < 2e-3
    assert np.abs(of_bias).max() < 2e-3


def test_a_constant_feature_has_no_say() -> None:
    head, _, _ = _fit(spread=1.0)
    np.testing.assert_allclose(head.kernel[3], 0.0, atol=1e-6)


def test_validation_prefers_a_stronger_penalty_where_labels_are_noise() -> None:
    random = np.random.default_rng(0)
    features, labels = _clusters(60, 0.3, 1)
    noise = random.integers(4, size=60)
    validation = _clusters(60, 0.3, 2)
    strict = fit_linear_head(features, noise, validation[0], random.integers(4, size=60), 4)
    loose = fit_linear_head(features, labels, *validation, 4)
    assert strict.penalty > loose.penalty
    # No worse than knowing nothing, by much.
    assert strict.loss < 1.3 * np.log(4)


def test_label_smoothing_makes_answers_less_sure() -> None:
    plain, _, validation = _fit()
    smoothed, _, _ = _fit(smoothing=0.3)
    assert (
        smoothed.probabilities(validation[0]).max(axis=1).mean() < plain.probabilities(validation[0]).max(axis=1).mean()
    )
    assert smoothed.accuracy == 1.0


def test_enormous_features_give_no_nan() -> None:
    features, labels = _clusters(60, 0.3, 1)
    head = fit_linear_head(features * 1e6, labels, features * 1e6, labels, 4)
    assert np.isfinite(head.kernel).all() and np.isfinite(head.bias).all()
    assert np.isfinite(head.probabilities(features * 1e6)).all()
    assert head.accuracy > 0.9


def test_the_same_photos_give_the_same_head() -> None:
    first, second = _fit(spread=1.0)[0], _fit(spread=1.0)[0]
    np.testing.assert_array_equal(first.kernel, second.kernel)
    np.testing.assert_array_equal(first.bias, second.bias)


def test_it_needs_no_tensorflow() -> None:
    program = (
        "import sys, pipeline.head, pipeline.fast, pipeline.job, pipeline.conclude; print('tensorflow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr


def test_a_feature_that_hardly_varies_gets_no_huge_weight() -> None:
    train, validation = _clusters(200, 0.3, 1), _clusters(80, 0.3, 2)

    def shrunk(features: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([features[:, :1] * 1e-4, features[:, 1:]], axis=1)

    head = fit_linear_head(shrunk(train[0]), train[1], shrunk(validation[0]), validation[1], 4)
    assert np.abs(head.kernel[0]).max() < np.abs(head.kernel[1:]).max()
    assert head.accuracy > 0.9
