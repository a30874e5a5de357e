"""What a variant is made of: a recipe (numbers inside) and an engine (file format)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from device.contract import EngineKind
from export.errors import ExportError
from pipeline.compression.config import Plan, parse
from pipeline.errors import PipelineError

_BOTH = frozenset(EngineKind)
_LITERT, _ONNX = frozenset({EngineKind.LITERT}), frozenset({EngineKind.ONNX})


class Activations(Enum):
    """How activations are represented; ``DYNAMIC_INT8``: ranges are measured anew in every run, on the board."""

    FLOAT = "float"
    DYNAMIC_INT8 = "dynamic int8"
    INT8 = "int8"
    INT16 = "int16"
    MIXED = "int8, the worst layers in float"


class Weights(Enum):
    """How weights are represented."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8, a scale per channel"
    INT8_PER_TENSOR = "int8, a scale per tensor"


class Ranges(Enum):
    """How the range of an activation is chosen from what the calibration photos show."""

    MIN_MAX = "min-max"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


class Recipe(Enum):
    """How weights and activations are represented, and for which engines such a file can be made."""

    FLOAT32 = ("float32", Weights.FLOAT32, Activations.FLOAT, None, _BOTH)
    FLOAT16 = ("float16", Weights.FLOAT16, Activations.FLOAT, None, _BOTH)
    # Not for ONNX: its ConvInteger knows one scale for a whole kernel, and that ruins MobileNets (20 % for 91 %).
    DYNAMIC_INT8 = ("dynamic_int8", Weights.INT8, Activations.DYNAMIC_INT8, None, _LITERT)
    INT16X8 = ("int16x8", Weights.INT8, Activations.INT16, Ranges.MIN_MAX, _LITERT)
    STATIC_INT8_PER_TENSOR = (
        "static_int8_per_tensor", Weights.INT8_PER_TENSOR, Activations.INT8, Ranges.MIN_MAX, _BOTH
    )  # fmt: skip
    STATIC_INT8_ENTROPY = ("static_int8_entropy", Weights.INT8, Activations.INT8, Ranges.ENTROPY, _ONNX)
    STATIC_INT8_PERCENTILE = ("static_int8_percentile", Weights.INT8, Activations.INT8, Ranges.PERCENTILE, _ONNX)
    MIXED_INT8 = ("mixed_int8", Weights.INT8, Activations.MIXED, Ranges.MIN_MAX, _BOTH)
    STATIC_INT8 = ("static_int8", Weights.INT8, Activations.INT8, Ranges.MIN_MAX, _BOTH)

    def __init__(
        self,
        text: str,
        weights: Weights,
        activations: Activations,
        ranges: Ranges | None,
        engines: frozenset[EngineKind],
    ) -> None:
        self.text = text
        self.weights = weights
        self.activations = activations
        self.ranges = ranges
        self.engines = engines

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations are measured on photos before the file is made."""
        return self.ranges is not None

    @property
    def rounds_weights(self) -> bool:
        """Whether weights become integers."""
        return self.weights in (Weights.INT8, Weights.INT8_PER_TENSOR)


@dataclass(frozen=True, slots=True)
class Form:
    """What is wanted of a Run.

    Attributes:
        recipe: how numbers are represented.
        plan: training that makes the network smaller first; None: none.
    """

    recipe: Recipe
    plan: Plan | None = None

    @property
    def text(self) -> str:
        """As on the command line, e.g. ``static_int8``, ``pruned50_int8`` or ``qat_int8``."""
        if self.plan is None:
            return self.recipe.text
        return f"{self.plan.name}_{self.recipe.text.removeprefix('static_')}"


@dataclass(frozen=True, slots=True)
class Target:
    """One variant to be made."""

    engine: EngineKind
    form: Form

    @property
    def recipe(self) -> Recipe:
        """How numbers are represented."""
        return self.form.recipe

    @property
    def name(self) -> str:
        """Of the variant, e.g. ``tflite-static-int8``."""
        return f"{self.suffix}-{self.form.text.replace('_', '-')}"

    @property
    def suffix(self) -> str:
        """Of the file: ``tflite`` or ``onnx``."""
        return "tflite" if self.engine is EngineKind.LITERT else "onnx"


def targets(forms: Iterable[Form], engines: Sequence[EngineKind] = tuple(EngineKind)) -> tuple[Target, ...]:
    """Every form for the engines that can take it, in a board's order of preference: int8 first.

    Args:
        forms: in any order.
        engines: to make files for, the preferred first.
    """
    order = list(Recipe)
    ordered = sorted(forms, key=lambda form: (order.index(form.recipe), form.text), reverse=True)
    return tuple(Target(engine, form) for engine in engines for form in ordered if engine in form.recipe.engines)


def parse_forms(text: str) -> tuple[Form, ...]:
    """Read ``float32,static_int8,pruned50_int8,qat_int8``.

    Raises:
        ExportError: an unknown name; the message lists the known.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ExportError(f"recipes '{text}': nothing is none; {_KNOWN}")
    return tuple(dict.fromkeys(_parse_form(name) for name in names))


def _parse_form(name: str) -> Form:
    known = {recipe.text: recipe for recipe in Recipe}
    if name in known:
        return Form(known[name])
    for text, recipe in (*known.items(), ("int8", Recipe.STATIC_INT8)):
        if name.endswith(f"_{text}"):
            try:
                plan = parse(name.removesuffix(f"_{text}"))
            except PipelineError as err:
                raise ExportError(f"recipes '{name}': {err}; {_KNOWN}") from err
            return _checked(Form(recipe, plan), name)
    raise ExportError(f"recipes '{name}': unknown; {_KNOWN}")


def _checked(form: Form, name: str) -> Form:
    if form.plan is not None and form.plan.qat and form.recipe is not Recipe.STATIC_INT8:
        raise ExportError(
            f"recipes '{name}': quantisation-aware training is for int8 alone; name it {form.plan.name}_int8"
        )
    return form


_KNOWN = (
    f"there are {', '.join(recipe.text for recipe in Recipe)}, and with training before them pruned50_int8, "
    f"pruned2of4_int8, clustered16_int8, qat_int8 and their like"
)
