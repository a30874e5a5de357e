"""What is worth making for a board, and by which rule it will choose. Its own measurement has the last word."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from device.contract import Choice, EngineKind
from export.recipe import Form, Recipe, parse_forms

_LITERT, _ONNX = EngineKind.LITERT, EngineKind.ONNX
_FASTEST, _CAMERA_RATE = Choice(), Choice(frames_per_second=30.0)
# https://coral.ai/docs/edgetpu/models-intro/, "Supported operations".
_EDGE_TPU = frozenset(
    [
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "EXPAND_DIMS",
        "FULLY_CONNECTED",
        "L2_NORMALIZATION",
        "LOGISTIC",
        "LSTM",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PACK",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "RSQRT",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SQUARED_DIFFERENCE",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    ]
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What an export makes.

    Attributes:
        forms: each for every engine that can take it.
        fallback: where an engine's static int8 misses its budget, these are tried in this order until one passes.
        engines: in the order in which a board should try them.
        choice: the rule by which a board picks among what passed.
        accelerated: TFLite operators that the board's accelerator knows; empty: it has none.
    """

    forms: tuple[Form, ...]
    fallback: tuple[Form, ...] = (Form(Recipe.MIXED_INT8),)
    engines: tuple[EngineKind, ...] = (_LITERT, _ONNX)
    choice: Choice = _FASTEST
    accelerated: frozenset[str] = frozenset()


USUAL = Selection((Form(Recipe.STATIC_INT8), Form(Recipe.FLOAT32)))


class Board(Enum):
    """Boards whose processors are known. A rule with frames a second is for one that has power to spare."""

    # Cortex-A72, no integer dot product: LiteRT is what is quick there, and a small file that needs no second runtime.
    PI4 = ("pi4", Selection(USUAL.forms, parse_forms("mixed_int8,dynamic_int8"), (_LITERT,)))
    # Cortex-A76 with dot products: both runtimes have kernels for it.
    PI5 = ("pi5", Selection(USUAL.forms, parse_forms("mixed_int8,dynamic_int8")))
    # TensorRT and CUDA run ONNX; half precision costs them nothing, so that the most accurate is quick enough.
    JETSON_ORIN = (
        "jetson-orin",
        Selection(
            parse_forms("float16,static_int8,float32"),
            engines=(_ONNX, _LITERT),
            choice=_CAMERA_RATE,
        ),
    )
    # The Edge TPU computes integers alone: a layer in float would send all that follows to the processor.
    CORAL = (
        "coral",
        Selection(parse_forms("static_int8"), parse_forms("qat_int8"), (_LITERT,), accelerated=_EDGE_TPU),
    )
    CPU = ("cpu", USUAL)

    def __init__(self, text: str, selection: Selection) -> None:
        self.text = text
        self.selection = selection
