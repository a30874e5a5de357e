"""Google's AI Edge Quantizer (package ``ai-edge-quantizer``): a float TFLite file to one with integers in it.

It can do what TensorFlow's converter cannot: 16-bit activations behind a uint8 input, and single layers left in float.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
from ai_edge_quantizer.utils.validation_utils import ValidationErrorMetric
from numpy.typing import NDArray

from export.metadata.tables import ModelBuilder
from export.mixed import LayerError, added_noise

_SIGNATURE, _INPUT, _OUTPUT = "serving_default", "pixels", "probabilities"
_WEIGHT_BITS = 8
_THREADS = 2
# Errors of layers are averages over so many photos; every tensor of both models is kept for each.
_ERROR_PHOTOS = 16


class EdgeQuantizer:
    """Quantises weights to 8 bits per channel and activations by their least and greatest value.

    Args:
        model: gives a float32 TFLite file, (1, height, width, 3) uint8 in, that makes up for the rounding of all layers
            but these.
        photos: (height, width, 3) uint8 RGB each, to calibrate with.
        activation_bits: 8 or 16.
    """

    def __init__(
        self, model: Callable[[frozenset[str]], bytes], photos: Iterable[NDArray[np.uint8]], activation_bits: int
    ) -> None:
        self._model = model
        self._bits = activation_bits
        # A list: the quantizer goes through it more than once.
        self._samples = [{_INPUT: pixels[np.newaxis]} for pixels in photos]

    def quantise(self, in_float: frozenset[str] = frozenset()) -> bytes:
        """See ``LayerQuantizer``; layers go by the name of their output tensor."""
        worker = self._worker(self._model(in_float), in_float)
        return _in_one_piece(bytes(worker.quantize(self._ranges, enable_progress_report=False).quantized_model))

    def errors(self) -> list[LayerError]:
        """See ``LayerQuantizer``."""
        quantised = self.quantise()
        judge = quantizer.Quantizer(self._exact, previous_quantized_model=quantised)
        test = {_SIGNATURE: self._samples[:_ERROR_PHOTOS]}
        # Not by XNNPACK, which refuses a layer that hardly ever answers: that is one of those looked for.
        compared = judge.validate(test, [ValidationErrorMetric.SNR], use_xnnpack=False, num_threads=_THREADS)
        found = compared.get_signature_comparison_result(_SIGNATURE)
        ratios = {**found.intermediate_tensors, **found.output_tensors}
        noise = {name: _noise(ratio["snr"]) for name, ratio in ratios.items()}
        return added_noise(noise, _operators(self._exact))

    @cached_property
    def _exact(self) -> bytes:
        """The file that makes up for nothing: as good as the float model."""
        everything = frozenset(name for name, _, _ in _operators(self._model(frozenset())))
        return with_signature(self._model(everything))

    @cached_property
    def _ranges(self) -> Any:
        # Of the exact model; making up for a rounding hardly moves them.
        return self._worker(self._exact).calibrate({_SIGNATURE: self._samples}, num_threads=_THREADS)

    def _worker(self, model: bytes, in_float: frozenset[str] = frozenset()) -> Any:
        worker = quantizer.Quantizer(with_signature(model))
        every = qtyping.TFLOperationName.ALL_SUPPORTED
        worker.add_static_config(".*", every, self._bits, _WEIGHT_BITS)
        for name in sorted(in_float):
            # It matches the names of an operator's outputs, each with a semicolon behind it.
            pattern = f"^{re.escape(name)};?$"
            worker.update_quantization_recipe(pattern, every, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
        return worker


def _noise(signal_to_noise: float) -> float:
    # Not a number: noise without end.
    return 1.0 / signal_to_noise if signal_to_noise > 0 else math.inf


def _operators(model: bytes) -> list[tuple[str, list[str], list[str]]]:
    graph = schema.ModelT.InitFromPackedBuf(model, 0).subgraphs[0]

    def names(indices: Iterable[int]) -> list[str]:
        # -1 stands for an input that is left out.
        return [graph.tensors[index].name.decode() for index in indices if index >= 0]

    return [(names(op.outputs)[0], names(op.inputs), names(op.outputs)) for op in graph.operators]


def with_signature(model: bytes) -> bytes:
    """The same TFLite file with a signature, names for its input and output, which the quantizer asks for."""
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = tree.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = _SIGNATURE, 0
    signature.inputs = [_named(_INPUT, graph.inputs[0])]
    signature.outputs = [_named(_OUTPUT, graph.outputs[0])]
    tree.signatureDefs = [signature]
    return _packed(tree, len(model))


def _in_one_piece(model: bytes) -> bytes:
    """With the weights in the FlatBuffer; the quantizer puts them behind it, as is needed for files over 2 GB."""
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    for buffer in tree.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return _packed(tree, len(model))


def _packed(tree: Any, size: int) -> bytes:
    builder = ModelBuilder(size)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _named(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
