"""What a variant is made of: a recipe (numbers inside) and an engine (file format)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from device.contract import EngineKind
from export.errors import ExportError

# Loss of accuracy, in percentage points, above which a variant stays out.
DEFAULT_MAX_DROP_POINTS = 1.0


class Recipe(Enum):
    """How weights and activations are represented."""

    FLOAT32 = "float32"
    STATIC_INT8 = "static_int8"

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations are measured on photos."""
        return self is Recipe.STATIC_INT8


@dataclass(frozen=True, slots=True)
class Target:
    """One variant to be made."""

    engine: EngineKind
    recipe: Recipe

    @property
    def name(self) -> str:
        """Of the variant, e.g. ``tflite-static-int8``."""
        return f"{self.suffix}-{self.recipe.value.replace('_', '-')}"

    @property
    def suffix(self) -> str:
        """Of the file: ``tflite`` or ``onnx``."""
        return "tflite" if self.engine is EngineKind.LITERT else "onnx"


def targets(recipes: tuple[Recipe, ...]) -> tuple[Target, ...]:
    """Every recipe for both engines, in a board's order of preference: LiteRT first, int8 first."""
    ordered = sorted(recipes, key=lambda recipe: list(Recipe).index(recipe), reverse=True)
    return tuple(Target(engine, recipe) for engine in EngineKind for recipe in ordered)


def parse_recipes(text: str) -> tuple[Recipe, ...]:
    """Read ``float32,static_int8``.

    Raises:
        ExportError: an unknown name; the message lists the known.
    """
    known = {recipe.value: recipe for recipe in Recipe}
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ExportError(f"recipes '{text}': {', '.join(unknown) or 'nothing'} is none; there are {', '.join(known)}")
    return tuple(dict.fromkeys(known[name] for name in names))
