"""What is done to a network: kernels of one scale, ranges, structure that survives steps, and an all-integer file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from pipeline.backbones import Normalisation, find_backbone
from pipeline.compression.assignment import Assign
from pipeline.compression.clustering import Seeding, cluster
from pipeline.compression.kernels import compressible, equalise
from pipeline.compression.preserve import Masked, Preserve, ProjectedAdamW, Tied
from pipeline.compression.quantisation import fit_ranges, fit_weight_ranges, kernels_of, quantise, quantised_pixels
from pipeline.config import HeadConfig
from pipeline.errors import PipelineError
from pipeline.frozen import frozen_function
from pipeline.model import Predictor, build_classifier, normalise

SIZE, CLASSES = 32, 4


NORMALISATION = Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


def _network() -> tf_keras.Model:
    """An inverted residual between a stem and a head, batch norm's factors as uneven as in a trained network."""
    tf_keras.utils.set_random_seed(2)
    layers = tf_keras.layers
    image = layers.Input((SIZE, SIZE, 3))
    x = _norm(layers.Conv2D(16, 3, 2, "same", use_bias=False, name="stem")(image), "stem")
    stem = layers.ReLU(6.0, name="stem_relu")(x)
    x = layers.ReLU(6.0)(_norm(layers.Conv2D(64, 1, use_bias=False, name="expand")(stem), "expand"))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0)(_norm(x, "depthwise"))
    x = _norm(layers.Conv2D(16, 1, name="project")(x), "project")
    x = layers.GlobalAveragePooling2D()(layers.Add(name="add")([stem, x]))
    x = layers.Dense(32, activation="relu", name="hidden")(x)
    model = tf_keras.Model(image, layers.Softmax()(layers.Dense(CLASSES, name="logits")(x)))
    model(_inputs(), training=True)
    random = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            uneven = np.exp(random.normal(0, 0.7, gamma.shape))
            layer.set_weights([gamma * uneven, beta + random.normal(0.5, 0.5, beta.shape), mean, variance])
    # Sure of its answers, so that a wrong one shows.
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * 3, bias])
    return model


def _norm(x: Any, name: str) -> Any:
    return tf_keras.layers.BatchNormalization(momentum=0.0, name=f"{name}_norm")(x)


def _pixels() -> NDArray[np.uint8]:
    """Smooth coloured pictures."""
    coarse = np.random.default_rng(5).integers(0, 256, (24, 4, 4, 3))
    return tf.image.resize(coarse, (SIZE, SIZE)).numpy().astype(np.uint8)


def _inputs(normalisation: Normalisation = NORMALISATION) -> Any:
    return normalise(tf.constant(_pixels()), normalisation)


@pytest.fixture(scope="module")
def plain() -> tf_keras.Model:
    model = _network()
    equalise(model)
    return model


@pytest.fixture(scope="module")
def quantised(plain: tf_keras.Model) -> tf_keras.Model:
    model = quantise(plain)
    fit_ranges(model, plain, iter([_inputs()]))
    return model


def test_depthwise_kernels_the_first_layer_and_the_logits_are_left_alone(plain: tf_keras.Model) -> None:
    assert compressible(plain) == ("expand", "project", "hidden")


def test_equalising_changes_no_answer_and_leaves_every_channel_a_largest_weight_of_one() -> None:
    model = _network()
    before, kept = model(_inputs(), training=False).numpy(), model.get_layer("project").kernel.numpy()
    equalise(model, keep=("project",))
    np.testing.assert_allclose(model(_inputs(), training=False), before, atol=1e-5)
    depthwise = np.abs(model.get_layer("depthwise").depthwise_kernel.numpy()).max(axis=(0, 1))
    pointwise = np.abs(model.get_layer("expand").kernel.numpy()).max(axis=(0, 1, 2))
    np.testing.assert_allclose(depthwise, 1.0, rtol=1e-6)
    np.testing.assert_allclose(pointwise, 1.0, rtol=1e-6)
    np.testing.assert_array_equal(model.get_layer("project").kernel, kept)


def _of(model: tf_keras.Model, layer: str, ending: str) -> NDArray[np.float32]:
    weights = model.get_layer(layer).weights
    return next(weight.numpy() for weight in weights if weight.name.endswith(f"/{ending}:0"))


def test_ranges_are_those_of_the_float_network(plain: tf_keras.Model, quantised: tf_keras.Model) -> None:
    added = tf_keras.Model(plain.input, plain.get_layer("add").output)(_inputs(), training=False)
    assert _of(quantised, "quant_add", "output_min") == pytest.approx(added.numpy().min(), rel=1e-4)
    assert _of(quantised, "quant_add", "output_max") == pytest.approx(added.numpy().max(), rel=1e-4)


def test_ranges_are_means_over_batches(plain: tf_keras.Model) -> None:
    model, halves = quantise(plain), [_inputs()[:12], _inputs()[12:]]
    fit_ranges(model, plain, iter(halves))
    pooled = tf_keras.Model(plain.input, plain.get_layer("hidden").output)
    expected = np.mean([pooled(half, training=False).numpy().max() for half in halves])
    assert _of(model, "quant_hidden", "post_activation_max") == pytest.approx(expected, rel=1e-4)


def test_the_quantised_network_answers_nearly_as_the_float_one(
    plain: tf_keras.Model, quantised: tf_keras.Model
) -> None:
    exact, rounded = plain(_inputs(), training=False).numpy(), quantised(_inputs(), training=False).numpy()
    assert 0 < np.abs(rounded - exact).mean() < 0.02


def test_one_scale_for_all_depthwise_channels_costs_nothing_once_they_are_equal() -> None:
    errors = []
    for even in (False, True):
        model = _network()
        kernel = model.get_layer("depthwise").depthwise_kernel
        # As in a trained network: some channels a hundred times as large as others.
        factor = np.logspace(-2, 0, 64).reshape(1, 1, 64, 1)
        kernel.assign(kernel * factor)
        norm = model.get_layer("depthwise_norm")
        gamma, beta, mean, variance = norm.get_weights()
        norm.set_weights([gamma / factor.reshape(-1), beta, mean * factor.reshape(-1), variance])
        exact = model(_inputs(), training=False).numpy()
        if even:
            equalise(model)
        rounded = quantise(model)
        fit_ranges(rounded, model, iter([_inputs()]))
        errors.append(np.abs(rounded(_inputs(), training=False).numpy() - exact).mean())
    assert errors[1] < 0.5 * errors[0]


def test_a_tanh_has_a_range_of_what_goes_into_it() -> None:
    model = build_classifier(find_backbone("lenet5"), CLASSES, SIZE, HeadConfig())
    rounded = quantise(model)
    fit_ranges(rounded, model, iter([_inputs()]))
    squashed = tf_keras.Model(model.input, model.get_layer("conv1").output)(_inputs(), training=False).numpy()
    high = _of(rounded, "quant_conv1", "pre_activation_max")
    assert np.tanh(high) == pytest.approx(squashed.max(), abs=1e-4)
    difference = rounded(_inputs(), training=False).numpy() - model(_inputs(), training=False).numpy()
    assert np.abs(difference).max() < 0.05


def test_weight_ranges_follow_the_weights(quantised: tf_keras.Model) -> None:
    kernel = kernels_of(quantised)["project"]
    before = kernel.numpy()
    kernel.assign(before * 3.0)
    fit_weight_ranges(quantised)
    largest = _of(quantised, "quant_project", "kernel_max")
    kernel.assign(before)
    fit_weight_ranges(quantised)
    np.testing.assert_allclose(largest, np.abs(before * 3.0).max(axis=(0, 1, 2)), rtol=1e-6)


def _convert(model: tf_keras.Model, normalisation: Normalisation) -> Interpreter:
    function = frozen_function(
        lambda pixels: model(quantised_pixels(pixels, normalisation), training=False),
        (1, SIZE, SIZE, 3),
        tf.float32,
        "pixels",
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _run(interpreter: Interpreter, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, classes) probabilities."""
    answers, output = [], interpreter.get_output_details()[0]
    for picture in pixels:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(output["index"])[0].astype(np.float32) * output["quantization"][0])
    return np.stack(answers)


@pytest.mark.parametrize(
    "normalisation",
    [
        Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        Normalisation((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), bgr=True),
        Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ],
)
def test_its_file_is_all_integer_takes_the_pixels_as_they_are_and_answers_alike(normalisation: Normalisation) -> None:
    model = _network()
    equalise(model)
    rounded = quantise(model)
    fit_ranges(rounded, model, iter([_inputs(normalisation)]))
    interpreter = _convert(rounded, normalisation)
    assert {detail["dtype"] for detail in interpreter.get_tensor_details()} <= {np.int8, np.uint8, np.int32}
    assert interpreter.get_input_details()[0]["quantization"] == (1.0, 0)
    expected = Predictor(rounded, normalisation)(_pixels())
    assert np.ptp(expected, axis=0).max() > 0.2
    np.testing.assert_allclose(_run(interpreter, _pixels()), expected, atol=0.05)


def test_a_network_that_tfmot_cannot_take_is_refused() -> None:
    model = build_classifier(find_backbone("lenet5"), CLASSES, SIZE, HeadConfig(batch_norm=True))
    with pytest.raises(
        PipelineError, match=r"cannot take this network \(.*\); leave qat out, .* head without batch norm"
    ):
        quantise(model)


def _sparse(random: np.random.Generator) -> NDArray[np.float32]:
    kernel = random.normal(size=(6, 10)).astype(np.float32)
    kernel[random.random((6, 10)) < 0.4] = 0
    return kernel


def test_a_mask_keeps_zeros_and_touches_nothing_else() -> None:
    kernel = _sparse(np.random.default_rng(0))
    moved = kernel + 0.5
    np.testing.assert_array_equal(Masked(kernel)(tf.constant(moved)), np.where(kernel == 0, 0, moved))


def test_tied_weights_move_by_the_mean_of_their_cluster_and_zeros_stay() -> None:
    kernel = np.array([[1.0, -1.0, 0.0], [2.0, 1.0, 0.0]], np.float32)
    moved = kernel + np.array([[0.1, -0.2, 0.7], [0.5, 0.6, -0.7]], np.float32)
    np.testing.assert_allclose(Tied(kernel)(tf.constant(moved)), [[1.3, -1.3, 0.0], [2.5, 1.3, 0.0]], rtol=1e-6)


def test_weights_find_another_cluster_while_they_are_trained() -> None:
    random = np.random.default_rng(1)
    start = _sparse(random)
    model = tf_keras.Sequential([tf_keras.layers.Input((6,)), tf_keras.layers.Dense(10, name="dense")])
    kernel = model.get_layer("dense").kernel
    kernel.assign(start)
    clustered = cluster(start, 9, Seeding.DENSITY, 0, keep_zeros=True)
    assign = Assign([(kernel, clustered)], keep_zeros=True)
    np.testing.assert_array_equal(kernel, clustered)
    goal, inputs = start + random.normal(0, 0.3, start.shape), random.normal(size=(256, 6))
    model.compile(tf_keras.optimizers.Adam(0.02), "mse")
    before = model.evaluate(inputs, inputs @ goal, verbose=0)
    model.fit(inputs, inputs @ goal, epochs=20, verbose=0, callbacks=[assign])
    trained = kernel.numpy()
    assert model.evaluate(inputs, inputs @ goal, verbose=0) < before
    assert (trained[start == 0] == 0).all()
    assert len(np.unique(np.abs(trained))) <= 5
    went_over = [
        len(np.unique(np.abs(trained)[np.abs(clustered) == value])) > 1 for value in np.unique(np.abs(clustered))
    ]
    assert any(went_over)


@pytest.mark.parametrize("structure", [Masked, Tied])
def test_training_keeps_to_the_structure(structure: type[Masked] | type[Tied]) -> None:
    random = np.random.default_rng(1)
    start = np.round(_sparse(random), 0)
    model = tf_keras.Sequential([tf_keras.layers.Input((6,)), tf_keras.layers.Dense(10, name="dense")])
    model.get_layer("dense").kernel.assign(start)
    keeper = Preserve(kernels_of(model), {"dense": structure(start)})
    model.compile(ProjectedAdamW(keeper.by_variable, 0.05), "mse")
    data = random.normal(size=(64, 6)), random.normal(size=(64, 10))
    model.fit(*data, epochs=3, verbose=0, callbacks=[keeper])
    trained = model.get_layer("dense").kernel.numpy()
    assert np.abs(trained - start).max() > 0.1
    assert (trained[start == 0] == 0).all()
    if structure is Tied:
        assert len(np.unique(trained)) == len(np.unique(start))
