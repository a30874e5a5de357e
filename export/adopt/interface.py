"""What a foreign model takes and gives, and what has to be added to it: data that crosses to the child process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Layout(Enum):
    """The order of a picture's axes."""

    NHWC = "NHWC"
    NCHW = "NCHW"


class OutputKind(Enum):
    """What the numbers mean."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"


class Entry(Enum):
    """What becomes of the bytes before they reach the model.

    AS_THEY_ARE: its uint8 input reads them rightly. SHIFTED: its int8 input does, 128 lower. FLOATS: normalised to its
    float input. QUANTISED: normalised, then quantised with its input's scale and zero point.
    """

    AS_THEY_ARE = "as they are"
    SHIFTED = "shifted"
    FLOATS = "floats"
    QUANTISED = "quantised"


@dataclass(frozen=True, slots=True)
class Quantisation:
    """A number is ``scale * (quantised - zero_point)``."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The one input.

    Attributes:
        name: in the file.
        layout: of a picture.
        height, width: 0 where the file leaves them free.
        dtype: a numpy name.
        quantisation: of an int8 or uint8 input, else None.
    """

    name: str
    layout: Layout
    height: int
    width: int
    dtype: str
    quantisation: Quantisation | None

    @property
    def byte_zero_point(self) -> int:
        """The pixel's byte that stands for 0 where bytes are taken as they are (int8: less 128)."""
        assert self.quantisation is not None
        return self.quantisation.zero_point + (128 if self.dtype == "int8" else 0)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """With a batch of one."""
        if self.layout is Layout.NCHW:
            return (1, 3, self.height, self.width)
        return (1, self.height, self.width, 3)


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The one output; ``classes`` is 0 where the file does not say, ``flat`` whether its shape is (1, classes)."""

    name: str
    classes: int
    dtype: str
    quantisation: Quantisation | None
    flat: bool


@dataclass(frozen=True, slots=True)
class Interface:
    """Input and output of a model file."""

    input: ModelInput
    output: ModelOutput


@dataclass(frozen=True, slots=True)
class Surgery:
    """What is put in front of a model and behind it, so that it takes (1, H, W, 3) uint8 RGB and gives probabilities.

    Attributes:
        entry: what becomes of the bytes.
        multiply, add: per channel in the network's order; a number is ``byte * multiply + add``. Unused for bytes.
        swap: red and blue change places, first of all.
        transpose: to NCHW.
        flatten: the output becomes (1, classes).
        softmax: the output is logits.
    """

    entry: Entry
    multiply: tuple[float, float, float]
    add: tuple[float, float, float]
    swap: bool
    transpose: bool
    flatten: bool
    softmax: bool

    @property
    def in_front(self) -> tuple[str, ...]:
        """In words, first to last."""
        steps = ["swap red and blue"] if self.swap else []
        if self.entry is Entry.SHIFTED:
            steps.append("uint8 to int8")
        if self.entry in (Entry.FLOATS, Entry.QUANTISED):
            steps.append("to float")
            steps += ["normalise"] if self.scales else []
        steps += ["to NCHW"] if self.transpose else []
        steps += ["quantise"] if self.entry is Entry.QUANTISED else []
        return tuple(steps)

    @property
    def behind(self) -> tuple[str, ...]:
        """In words, first to last."""
        return (("flatten",) if self.flatten else ()) + (("softmax",) if self.softmax else ())

    @property
    def scales(self) -> bool:
        """Whether floats are more than the bytes as numbers."""
        return self.multiply != (1.0, 1.0, 1.0) or self.add != (0.0, 0.0, 0.0)
