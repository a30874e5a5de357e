"""onnxruntime's quantiser: a float ONNX model to one with quantise-dequantise (QDQ) pairs."""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    qdq_loss_debug,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.mixed import LayerError, added_noise
from export.recipe import Ranges

_METHODS = {
    Ranges.MIN_MAX: CalibrationMethod.MinMax,
    Ranges.ENTROPY: CalibrationMethod.Entropy,
    Ranges.PERCENTILE: CalibrationMethod.Percentile,
}
_COUNTED = re.compile(r"__\d+$")
# Histograms keep every activation of so many photos before they count them.
_HISTOGRAM_PHOTOS = 8
# Errors of layers are averages over so many photos; every tensor of both models is kept for each.
_ERROR_PHOTOS = 8


class OnnxQuantizer:
    """Quantises weights to 8 bits and activations to 8 bits per tensor.

    Args:
        model: gives the float model, (1, height, width, 3) uint8 in, that makes up for the rounding of all layers but
            these.
        photos: (height, width, 3) uint8 RGB each, to calibrate with.
        ranges: how an activation's range is chosen.
        per_channel: a scale for every output channel of a weight; else one for the tensor.
    """

    def __init__(
        self,
        model: Callable[[frozenset[str]], Any],
        photos: Iterable[NDArray[np.uint8]],
        ranges: Ranges = Ranges.MIN_MAX,
        per_channel: bool = True,
    ) -> None:
        self._model, self._photos = model, list(photos)
        self._ranges, self._per_channel = ranges, per_channel

    def quantise(self, in_float: frozenset[str] = frozenset()) -> bytes:
        """See ``LayerQuantizer``; layers go by the name of their node."""
        prepared = prepare(self._model(in_float))
        # It prints how it chooses ranges, and standard output is for the command's answer.
        with _saved(prepared) as (path, result), redirect_stdout(sys.stderr):
            quantize_static(
                str(path),
                str(result),
                _Reader(self._photos, _input(prepared)),
                quant_format=QuantFormat.QDQ,
                per_channel=self._per_channel,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                reduce_range=saturates_here(),
                nodes_to_exclude=sorted(in_float),
                calibrate_method=_METHODS[self._ranges],
                extra_options={}
                if self._ranges is Ranges.MIN_MAX
                else {"CalibMaxIntermediateOutputs": _HISTOGRAM_PHOTOS},
            )
            return result.read_bytes()

    def errors(self) -> list[LayerError]:
        """See ``LayerQuantizer``."""
        exact = prepare(self._model(frozenset(node.name for node in prepare(self._model(frozenset())).graph.node)))
        float_activations = self._activations(exact)
        quantised_activations = self._activations(onnx.load_from_string(self.quantise()))
        matched = qdq_loss_debug.create_activation_matching(quantised_activations, float_activations)
        noise = {
            name: _noise(match["float"], match["post_qdq"]) for name, match in matched.items() if match.get("float")
        }
        nodes = [(node.name, list(node.input), list(node.output)) for node in exact.graph.node]
        return added_noise(_with_fused(noise, nodes), nodes)

    def _activations(self, proto: Any) -> Any:
        with _saved(proto) as (path, augmented):
            qdq_loss_debug.modify_model_output_intermediate_tensors(path, augmented)
            reader = _Reader(self._photos[:_ERROR_PHOTOS], _input(proto))
            return qdq_loss_debug.collect_activations(str(augmented), reader)


def prepare(proto: Any) -> Any:
    """Batch norm folded, shapes inferred, every node under the name that another conversion would give it."""
    with _saved(proto) as (path, result):
        # Symbolic shapes need sympy and bring nothing: every shape is fixed.
        quant_pre_process(str(path), str(result), skip_symbolic_shape=True)
        prepared = onnx.load(str(result))
    seen: Counter[str] = Counter()
    for node in prepared.graph.node:
        # tf2onnx counts its additions through the whole process.
        name = _COUNTED.sub("", node.name) or node.op_type
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
    return prepared


def saturates_here() -> bool:
    """Whether this CPU adds pairs of uint8 x int8 products in 16 bits.

    x86 without VNNI does and loses about 6 points of top-1 to it: there weights get 7 bits. ARM and newer x86 add in
    32 bits.
    """
    flags = Path("/proc/cpuinfo").read_text(errors="replace")
    is_x86 = "GenuineIntel" in flags or "AuthenticAMD" in flags
    return is_x86 and "avx512_vnni" not in flags and "avx_vnni" not in flags


def _with_fused(noise: dict[str, float], nodes: list[tuple[str, list[str], list[str]]]) -> dict[str, float]:
    """With the noise of tensors that are quantised together with the activation function behind them."""
    known = dict(noise)
    # Nodes come in the order of computing: what is behind is known first.
    for _, _, outputs in reversed(nodes):
        for tensor in outputs:
            behind = [given for _, taken, given in nodes if tensor in taken]
            if tensor not in known and len(behind) == 1 and behind[0][0] in known:
                known[tensor] = known[behind[0][0]]
    return known


def _input(proto: Any) -> str:
    return str(proto.graph.input[0].name)


class _Reader:
    """onnxruntime's CalibrationDataReader: one photo at a time, then None."""

    def __init__(self, photos: Iterable[NDArray[np.uint8]], input_name: str) -> None:
        self._photos = iter(photos)
        self._input_name = input_name

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        pixels = next(self._photos, None)
        return None if pixels is None else {self._input_name: pixels[np.newaxis]}

    def __iter__(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        return ({self._input_name: pixels[np.newaxis]} for pixels in self._photos)


@contextmanager
def _saved(proto: Any) -> Iterator[tuple[Path, Path]]:
    """The model as a file, and a path for what is made of it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        onnx.save(proto, str(path))
        yield path, Path(scratch) / "result.onnx"


def _noise(exact: Any, quantised: Any) -> float:
    reference, answer = np.concatenate(exact).astype(np.float64), np.concatenate(quantised).astype(np.float64)
    power = float(np.square(reference).sum())
    return float(np.square(answer - reference).sum()) / power if power else 0.0
