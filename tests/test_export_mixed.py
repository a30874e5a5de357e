"""The search for the fewest layers in float: on a quantiser whose truth is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from device.bundle import open_bundle
from device.contract import EngineKind
from export.budget import Budget
from export.errors import ConversionError
from export.mixed import LayerError, added_noise, search_mixed
from export.recipe import Form, Recipe, Target
from export.workshop import Naming, Workshop
from pipeline.display import Silent
from pipeline.run import open_run

LAYERS = tuple(f"layer{number:02d}" for number in range(20))


class FakeQuantizer:
    """A file is the sorted names of its layers in float; layers further back are costlier."""

    def __init__(self) -> None:
        self.made: list[frozenset[str]] = []

    def errors(self) -> list[LayerError]:
        return [LayerError(name, 1.0, float(number)) for number, name in enumerate(LAYERS)]

    def quantise(self, in_float: frozenset[str]) -> bytes:
        self.made.append(in_float)
        return ",".join(sorted(in_float)).encode()


@pytest.mark.parametrize("needed", range(1, 21))
def test_the_fewest_of_the_costliest_layers_stay_in_float(needed: int) -> None:
    quantizer = FakeQuantizer()
    costliest = LAYERS[::-1][:needed]
    found = search_mixed(quantizer, lambda model: set(costliest) <= set(model.decode().split(",")))
    assert found.in_float == costliest
    assert found.model == ",".join(sorted(costliest)).encode()
    assert found.tries == len(quantizer.made) <= 10
    assert [error.layer for error in found.errors] == list(LAYERS[::-1])


def test_a_budget_that_no_layer_can_save_is_said_so() -> None:
    with pytest.raises(ConversionError, match="with all 20 layers in float: int8 is not the reason"):
        search_mixed(FakeQuantizer(), lambda model: False)


def test_noise_that_a_layer_only_passes_on_is_not_its_own() -> None:
    noise = {"image": 0.0, "a": 0.1, "b": 0.4, "c": 0.3}
    operators = [("a", ["image", "weights"], ["a"]), ("b", ["a"], ["b"]), ("c", ["a", "b"], ["c"]), ("x", ["c"], ["x"])]
    found = {error.layer: error for error in added_noise(noise, operators)}
    assert found["a"] == LayerError("a", 0.1, 0.1)
    assert found["b"].added == pytest.approx(0.3)
    assert found["c"].added == 0.0
    assert "x" not in found


class Refused:
    """A quantiser whose file no runtime loads until its worst layer is in float."""

    def __init__(self, model: bytes) -> None:
        self._model = model

    def errors(self) -> list[LayerError]:
        return [LayerError("dead", math.inf, math.inf), LayerError("sound", 0.1, 0.1)]

    def quantise(self, in_float: frozenset[str]) -> bytes:
        return self._model if "dead" in in_float else b"\x1c\x00\x00\x00TFL3 and nothing that loads"


def test_a_file_that_does_not_load_is_a_failure_to_mend(
    run_folder: Path, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bundle(bundle_path) as bundle:
        whole = bundle.model(bundle.manifest.variant("tflite-float32"))
    monkeypatch.setattr("export.workshop.tflite_layers", lambda source: Refused(whole))
    run = open_run(run_folder)
    workshop = Workshop(run, run.photos(), Budget(), Naming("signs", "1.0.0"), Silent())
    outcome = workshop.make(Target(EngineKind.LITERT, Form(Recipe.MIXED_INT8)))
    assert outcome.included, outcome.reason
    assert outcome.mixed is not None
    assert outcome.mixed.in_float == ("dead",)
