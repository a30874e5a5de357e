"""Recipes, forms and targets: names that decode, and the order of preference."""

from __future__ import annotations

import argparse

import pytest

from device.contract import EngineKind
from export.boards import USUAL, Board
from export.commands.export import configure
from export.errors import ExportError
from export.recipe import Activations, Form, Recipe, Target, Weights, parse_forms, targets
from pipeline.compression.config import parse


def test_the_default_is_made_for_both_engines_small_and_fast_first() -> None:
    assert [target.name for target in targets(USUAL.forms)] == [
        "tflite-static-int8",
        "tflite-float32",
        "onnx-static-int8",
        "onnx-float32",
    ]


def test_the_order_in_which_recipes_are_asked_for_does_not_matter() -> None:
    assert targets(USUAL.forms) == targets(USUAL.forms[::-1])


def test_a_recipe_is_made_for_the_engines_that_can_take_it() -> None:
    assert targets([Form(Recipe.INT16X8)]) == (Target(EngineKind.LITERT, Form(Recipe.INT16X8)),)
    assert targets([Form(Recipe.STATIC_INT8_ENTROPY)]) == (Target(EngineKind.ONNX, Form(Recipe.STATIC_INT8_ENTROPY)),)
    assert {target.engine for target in targets([Form(Recipe.FLOAT16)])} == set(EngineKind)


def test_every_recipes_name_decodes() -> None:
    for recipe in Recipe:
        assert ("int8" in recipe.text or "x8" in recipe.text) == recipe.rounds_weights
        assert ("per_tensor" in recipe.text) == (recipe.weights is Weights.INT8_PER_TENSOR)
        assert recipe.text.startswith("dynamic") == (recipe.activations is Activations.DYNAMIC_INT8)
        assert parse_forms(recipe.text) == (Form(recipe),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("static_int8,float32", ["static_int8", "float32"]),
        (" float32 , static_int8,", ["float32", "static_int8"]),
        ("float32,float32", ["float32"]),
        ("qat_int8,pruned50_int8", ["qat_int8", "pruned50_int8"]),
        ("pruned2of4_static_int8", ["pruned2of4_int8"]),
        ("clustered16_float32,pruned50_clustered16_qat_int8", ["clustered16_float32", "pruned50_clustered16_qat_int8"]),
    ],
)
def test_recipes_are_read_from_the_command_line(text: str, expected: list[str]) -> None:
    assert [form.text for form in parse_forms(text)] == expected


def test_training_before_a_recipe_is_part_of_the_variants_name() -> None:
    [form] = parse_forms("pruned50_int8")
    assert form == Form(Recipe.STATIC_INT8, parse("pruned50"))
    assert [target.name for target in targets([form])] == ["tflite-pruned50-int8", "onnx-pruned50-int8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int4", "recipes 'int4': unknown; there are float32, float16"),
        (",", "nothing is none"),
        ("pruned99_int8", "pruned10 to pruned95"),
        ("qat_float16", "name it qat_int8"),
    ],
)
def test_an_unknown_recipe_lists_the_known(text: str, message: str) -> None:
    with pytest.raises(ExportError) as caught:
        parse_forms(text)
    assert message in str(caught.value)


def test_a_board_names_engines_in_its_order() -> None:
    selection = Board.JETSON_ORIN.selection
    names = [target.name for target in targets(selection.forms, selection.engines)]
    assert names[0] == "onnx-static-int8"
    assert names.index("tflite-static-int8") > names.index("onnx-float32")
    assert selection.choice.frames_per_second == 30.0


@pytest.mark.parametrize("board", Board)
def test_every_board_has_something_whole_to_try_first(board: Board) -> None:
    selection = board.selection
    assert Form(Recipe.STATIC_INT8) in selection.forms
    assert not set(selection.forms) & set(selection.fallback)
    assert all(set(selection.engines) & form.recipe.engines for form in (*selection.forms, *selection.fallback))


def test_nothing_that_computes_in_float_is_tried_for_an_accelerator_of_integers() -> None:
    selection = Board.CORAL.selection
    assert {form.recipe.activations for form in (*selection.forms, *selection.fallback)} == {Activations.INT8}


def test_the_command_line_offers_every_board() -> None:
    parser = argparse.ArgumentParser()
    configure(parser)
    [action] = [action for action in parser._actions if action.dest == "target"]
    assert action.choices == tuple(board.text for board in Board)
