"""Every family takes what it says, quantisation-aware training up to an all-integer file; the rest is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter

from pipeline.backbones import Compression, find_backbone
from pipeline.compression.config import Pruning
from pipeline.compression.kernels import compressible, equalise
from pipeline.compression.norms import with_fixed_statistics
from pipeline.compression.pruning import prunable
from pipeline.compression.quantisation import fit_ranges, quantise, quantised_pixels
from pipeline.config import HeadConfig
from pipeline.errors import PipelineError
from pipeline.frozen import frozen_function
from pipeline.model import build_classifier, normalise

FAMILIES = (
    "lenet5", "mobilenetv1-0.25", "mobilenetv2-0.35", "mobilenetv2-1.0-torch", "efficientnet-lite0",
    "mobilenetv3-small", "mobilenetv3-small-minimalistic", "mobilenetv3-large", "mobilenetv3-large-minimalistic",
    "efficientnetv2-b0", "resnet18", "resnet50", "resnet50-torch", "inceptionv3", "vgg16", "vgg16-torch", "googlenet",
    "googlenet-bn", "alexnet",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_a_backbone_takes_what_it_says(name: str) -> None:
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(3)
    backbone = find_backbone(name)
    size = backbone.least_size
    plain = build_classifier(backbone, 3, size, HeadConfig())
    pixels = tf.constant(np.random.default_rng(1).integers(0, 256, (4, size, size, 3)), tf.float32)
    inputs = normalise(pixels, backbone.normalisation)
    before = plain(inputs, training=False).numpy()
    equalise(plain)
    np.testing.assert_allclose(plain(inputs, training=False), before, atol=1e-3)
    if {Compression.PRUNING, Compression.CLUSTERING} & backbone.compression:
        assert len(compressible(plain)) >= 2
        wrapped = prunable(with_fixed_statistics(plain), Pruning(50), steps=8)
        np.testing.assert_allclose(wrapped(inputs, training=False), before, atol=1e-3)
    if name == "inceptionv3":
        # tfmot takes it, but its average pooling stays in float in the file.
        assert Compression.QAT not in backbone.compression
        return
    if Compression.QAT not in backbone.compression:
        with pytest.raises(PipelineError, match="quantisation-aware training cannot take this network"):
            quantise(plain)
        return
    quantised = quantise(plain)
    fit_ranges(quantised, plain, iter([inputs]))
    assert np.isfinite(quantised(inputs, training=False)).all()
    function = frozen_function(
        lambda batch: quantised(quantised_pixels(batch, backbone.normalisation), training=False),
        (1, size, size, 3),
        tf.float32,
        "pixels",
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    floats = [detail["name"] for detail in interpreter.get_tensor_details() if detail["dtype"] == np.float32]
    assert floats == []
