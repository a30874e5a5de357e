"""Recipes and targets: names that decode, and the order of preference."""

from __future__ import annotations

import pytest

from device.contract import EngineKind
from export.errors import ExportError
from export.recipe import Recipe, Target, parse_recipes, targets


def test_every_recipe_is_made_for_both_engines_small_and_fast_first() -> None:
    assert [target.name for target in targets(tuple(Recipe))] == [
        "tflite-static-int8",
        "tflite-float32",
        "onnx-static-int8",
        "onnx-float32",
    ]


def test_the_order_in_which_recipes_are_asked_for_does_not_matter() -> None:
    assert targets((Recipe.FLOAT32, Recipe.STATIC_INT8)) == targets((Recipe.STATIC_INT8, Recipe.FLOAT32))


def test_one_recipe() -> None:
    assert targets((Recipe.FLOAT32,)) == (
        Target(EngineKind.LITERT, Recipe.FLOAT32),
        Target(EngineKind.ONNX, Recipe.FLOAT32),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("float32", (Recipe.FLOAT32,)),
        ("static_int8,float32", (Recipe.STATIC_INT8, Recipe.FLOAT32)),
        (" float32 , static_int8,", (Recipe.FLOAT32, Recipe.STATIC_INT8)),
        ("float32,float32", (Recipe.FLOAT32,)),
    ],
)
def test_recipes_are_read_from_the_command_line(text: str, expected: tuple[Recipe, ...]) -> None:
    assert parse_recipes(text) == expected


@pytest.mark.parametrize(("text", "named"), [("int4", "int4"), ("float32,int4,fp8", "int4, fp8"), (",", "nothing")])
def test_an_unknown_recipe_lists_the_known(text: str, named: str) -> None:
    with pytest.raises(ExportError, match=rf"{named} is none; there are float32, static_int8"):
        parse_recipes(text)
