"""Networks built here: as large as published, cut without a seam, and able to learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from pipeline.backbones import alexnet, googlenet, lenet, mobilenet_v2_torch, resnet, vgg
from pipeline.features import cut

Shape = tuple[int, int, int]
Build = Callable[[Shape], Any]

NETWORKS: dict[str, tuple[Build, tuple[str, ...], int]] = {
    "lenet5": (lenet.build, lenet.BLOCKS, lenet.LEAST_SIZE),
    "alexnet": (alexnet.build, alexnet.BLOCKS, alexnet.LEAST_SIZE),
    "mobilenetv2": (partial(mobilenet_v2_torch.build, alpha=0.35), mobilenet_v2_torch.BLOCKS, 32),
    **{form.value: (partial(googlenet.build, form=form), googlenet.BLOCKS[form], 32) for form in googlenet.Form},
    **{v.value: (partial(vgg.build, variant=v), vgg.BLOCKS[v], 32) for v in vgg.Variant},
    **{v.value: (partial(resnet.build, variant=v), resnet.BLOCKS[v], 32) for v in resnet.Variant},
}
# One of each kind of block: the deeper ones repeat them, and take minutes.
DIFFERENT = ("lenet5", "alexnet", "mobilenetv2", "googlenet", "googlenet-bn", "vgg16", "resnet18", "resnet50")
each_kind = pytest.mark.parametrize("name", DIFFERENT)


def _counted(model: Any) -> int:
    """Trained parameters; batch norm's statistics are none."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


IMAGENET = (224, 224, 3)
TINY = (32, 32, 3)  # convolutions count the same at any size


# LeNet-5: the layers of the paper, the second convolution seeing all maps. GoogLeNet: table 1 of the paper with biases.
# The others: torchvision's documentation, "num_params" of each.
@pytest.mark.parametrize(
    ("build", "published"),
    [
        (lambda: lenet.build_classifier((32, 32, 1), 10), 61_706),
        (lambda: alexnet.build_classifier(IMAGENET, 1000), 61_100_840),
        (lambda: googlenet.build_classifier(TINY, 1000), 6_998_552),
        (lambda: googlenet.build_classifier(TINY, 1000, googlenet.Form.TORCHVISION), 6_624_904),
        (lambda: mobilenet_v2_torch.build_classifier(TINY, 1000), 3_504_872),
        (lambda: vgg.build_classifier(IMAGENET, 1000, vgg.Variant.VGG16), 138_357_544),
        (lambda: vgg.build_classifier(IMAGENET, 1000, vgg.Variant.VGG19), 143_667_240),
        (lambda: resnet.build_classifier(TINY, 1000, resnet.Variant.RESNET18), 11_689_512),
        (lambda: resnet.build_classifier(TINY, 1000, resnet.Variant.RESNET34), 21_797_672),
        (lambda: resnet.build_classifier(TINY, 1000, resnet.Variant.RESNET50), 25_557_032),
        (lambda: resnet.build_classifier(TINY, 1000, resnet.Variant.RESNET101), 44_549_160),
        (lambda: resnet.build_classifier(TINY, 1000, resnet.Variant.RESNET152), 60_192_808),
    ],
    ids=[
        *("lenet5", "alexnet", "googlenet", "googlenet-bn", "mobilenetv2", "vgg16", "vgg19"),
        *(variant.value for variant in resnet.Variant),
    ],
)
def test_a_network_has_as_many_parameters_as_published(build: Callable[[], Any], published: int) -> None:
    if published < 60_000_000:
        assert _counted(build()) == published
    else:
        with tf.Graph().as_default():  # slow, but takes no memory for the weights
            assert _counted(build()) == published


def test_auxiliary_classifiers_add_the_parameters_of_the_paper() -> None:
    training = googlenet.with_auxiliary(googlenet.build_classifier(IMAGENET, 1000), 1000)
    assert _counted(training) == 13_378_280  # as the Caffe model of the time


@pytest.mark.parametrize(
    ("name", "shape", "features"),
    [
        ("lenet5", (32, 32, 1), (84,)),
        ("lenet5", (45, 64, 3), (84,)),
        ("alexnet", (63, 63, 3), (4096,)),
        ("googlenet", (224, 224, 3), (7, 7, 1024)),
        ("googlenet", (33, 64, 3), (1, 2, 1024)),
        ("googlenet-bn", (224, 224, 3), (7, 7, 1024)),
        ("mobilenetv2", (224, 224, 3), (7, 7, 1280)),
        ("resnet18", (224, 224, 3), (7, 7, 512)),
        ("resnet50", (100, 64, 3), (4, 2, 2048)),
        ("vgg16", (100, 64, 3), (3, 2, 512)),
    ],
)
def test_features_have_the_stated_shape(name: str, shape: Shape, features: tuple[int, ...]) -> None:
    assert NETWORKS[name][0](shape).output_shape == (None, *features)


@each_kind
def test_the_smallest_size_leaves_something(name: str) -> None:
    build, _, least = NETWORKS[name]
    assert all(side is None or side > 0 for side in build((least, least, 3)).output_shape)


@pytest.mark.parametrize("form", googlenet.Form)
@pytest.mark.parametrize("size", [33, 47, 63])
def test_googlenet_builds_at_odd_sizes(form: googlenet.Form, size: int) -> None:
    height, width = googlenet.build((size, 71, 3), form).output_shape[1:3]
    assert height in (size // 32, -(-size // 32))
    assert width == 2


@pytest.mark.parametrize("size", [32, 47, 48, 64, 79, 80, 100])
def test_pooling_over_the_edge_takes_what_pixels_there_are(size: int) -> None:
    from pipeline.backbones import torch_layers

    x = np.random.default_rng(size).uniform(0, 1, (1, size, size + 1, 2)).astype(np.float32)
    for kernel in (2, 3):
        pooled = torch_layers.max_pool_ceil(tf.constant(x), "pool", kernel).numpy()
        rows, columns = (-(-(side - kernel) // 2) + 1 for side in x.shape[1:3])
        expected = [
            [x[0, 2 * r : 2 * r + kernel, 2 * c : 2 * c + kernel].max(axis=(0, 1)) for c in range(columns)]
            for r in range(rows)
        ]
        np.testing.assert_array_equal(pooled[0], np.array(expected))


def _classifier(name: str) -> tuple[Any, tuple[str, ...], NDArray[np.float32]]:
    """With a head as the pipeline has it, and five classes."""
    tf_keras.utils.set_random_seed(3)
    build, blocks, least = NETWORKS[name]
    base = build((least, least, 3))
    x = base.output if len(base.output_shape) == 2 else tf_keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    x = tf_keras.layers.Dense(5, name="logits")(tf_keras.layers.Dropout(0.1, name="last_feature")(x))
    model = tf_keras.Model(base.input, tf_keras.layers.Softmax(name="probabilities")(x), name=name)
    inputs = np.random.default_rng(0).normal(0, 1, (2, least, least, 3)).astype(np.float32)
    return model, blocks, inputs


def _inputs_of(layer: Any) -> set[int]:
    return {id(tensor) for tensor in (layer.input if isinstance(layer.input, list) else [layer.input])}


@each_kind
def test_every_block_is_a_place_to_cut(name: str) -> None:
    model, blocks, inputs = _classifier(name)
    layers = [layer.name for layer in model.layers]
    assert [layers.index(block) for block in blocks] == sorted(layers.index(block) for block in blocks)
    assert layers.index(blocks[0]) == 1, "the first block begins at the image"
    for block in blocks:
        upper = model.layers[layers.index(block) :]
        known = {id(model.get_layer(block).input)} | {id(layer.output) for layer in upper}
        assert all(_inputs_of(layer) <= known for layer in upper), f"{block}: something comes from before the cut"
    whole = model(inputs, training=False).numpy()
    for block in (blocks[len(blocks) // 2], blocks[-1]):
        parts = cut(model, block, "last_feature")
        between = parts.lower(inputs, training=False)
        np.testing.assert_allclose(parts.upper(between, training=False).numpy(), whole, atol=1e-5)
        # Nothing of the lower part hides among the layers that an unfrozen upper part trains.
        assert not {v.ref() for v in parts.lower.weights} & {v.ref() for v in parts.upper.weights}


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "mobilenetv2", "googlenet", "vgg16", "resnet18"])
def test_one_step_moves_every_weight(name: str) -> None:
    model, _, inputs = _classifier(name)
    before = [weight.numpy() for weight in model.trainable_weights]
    model.compile(optimizer=tf_keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
    history = model.fit(inputs, np.array([0, 1]), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    moved = [not np.array_equal(old, new.numpy()) for old, new in zip(before, model.trainable_weights, strict=True)]
    assert np.mean(moved) > 0.95, "dead units may stay"
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


@pytest.mark.parametrize("name", ["lenet5", "googlenet"])
def test_random_weights_keep_the_signal(name: str) -> None:
    """Neither vanishing nor exploding: nine modules without batch norm must let a picture through."""
    tf_keras.utils.set_random_seed(1)
    model = NETWORKS[name][0]((64, 64, 3))
    spread = model(np.random.default_rng(0).normal(0, 1, (8, 64, 64, 3)).astype(np.float32)).numpy().std(axis=0).mean()
    assert 1e-2 < spread < 1e2


@pytest.mark.parametrize("form", googlenet.Form)
def test_auxiliary_classifiers_train_and_are_dropped(form: googlenet.Form) -> None:
    tf_keras.utils.set_random_seed(4)
    base = googlenet.build((64, 64, 3), form)
    x = tf_keras.layers.Dense(3, activation="softmax")(tf_keras.layers.GlobalAveragePooling2D()(base.output))
    classifier = tf_keras.Model(base.input, x, name="classifier")
    training = googlenet.with_auxiliary(classifier, 3)
    assert [output.shape[-1] for output in training.outputs] == [3, 3, 3]
    inputs, labels = np.random.default_rng(0).normal(0, 1, (6, 64, 64, 3)).astype(np.float32), np.arange(6) % 3
    extra = googlenet.AUXILIARY_LOSS_WEIGHT
    training.compile(
        optimizer=tf_keras.optimizers.Adam(1e-4), loss="sparse_categorical_crossentropy", loss_weights=[1, extra, extra]
    )
    before = {weight.name: weight.numpy() for weight in training.trainable_weights}
    losses = training.fit(inputs, [labels] * 3, epochs=1, batch_size=6, verbose=0).history
    single = [value[0] for name, value in losses.items() if name != "loss"]
    np.testing.assert_allclose(losses["loss"][0], single[0] + 0.3 * single[1] + 0.3 * single[2], rtol=1e-5)
    changed = {w.name for w in training.trainable_weights if not np.array_equal(before[w.name], w.numpy())}
    assert {"aux1.fc2/kernel:0", "aux2.fc2/kernel:0", "aux1.conv/kernel:0"} <= changed
    assert {weight.name for weight in classifier.trainable_weights} & changed
    assert not any(layer.name.startswith("aux") for layer in classifier.layers)
    np.testing.assert_allclose(training(inputs, training=False)[0].numpy(), classifier(inputs, training=False).numpy())


def test_auxiliary_losses_reach_the_lower_modules_alone() -> None:
    """Their gradient ends where they branch off: what comes after module 4d is none of their business."""
    tf_keras.utils.set_random_seed(5)
    training = googlenet.with_auxiliary(googlenet.build_classifier((64, 64, 3), 3), 3)
    with tf.GradientTape() as tape:
        _, first, second = training(np.ones((1, 64, 64, 3), np.float32), training=True)
        loss = tf.reduce_sum(first[:, 0]) + tf.reduce_sum(second[:, 0])
    gradients = dict(
        zip(
            [weight.name for weight in training.trainable_weights],
            tape.gradient(loss, training.trainable_weights),
            strict=True,
        )
    )
    assert gradients["inception3a.branch1/kernel:0"] is not None
    assert gradients["inception4d.branch1/kernel:0"] is not None
    assert gradients["inception4e.branch1/kernel:0"] is None
    assert gradients["fc/kernel:0"] is None


def test_lenet_learns_patterns_it_can_see() -> None:
    tf_keras.utils.set_random_seed(6)
    random = np.random.default_rng(0)
    labels = np.arange(64) % 2
    inputs = random.normal(0, 0.3, (64, 32, 32, 1)).astype(np.float32)
    inputs[labels == 1, 8:24, 14:18] += 1  # an upright bar
    inputs[labels == 0, 14:18, 8:24] += 1  # a lying one
    model = lenet.build_classifier((32, 32, 1), 2)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=tf_keras.optimizers.Adam(1e-3), loss=loss)
    model.fit(inputs[:48], labels[:48], epochs=8, batch_size=8, verbose=0)
    assert (model(inputs[48:]).numpy().argmax(axis=1) == labels[48:]).all()
