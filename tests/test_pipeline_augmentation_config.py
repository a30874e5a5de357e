"""Distributions as data: presets, their words, and the warning about mirror images. No TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from pipeline.augmentation.config import AugmentConfig, Preset, preset
from pipeline.augmentation.describe import describe, title
from pipeline.augmentation.mirror import mirror_warning
from pipeline.errors import TrainingError

FLIP = AugmentConfig(flip=True)


def test_none_of_these_modules_imports_tensorflow() -> None:
    modules = ", ".join(f"pipeline.augmentation.{name}" for name in ("config", "describe", "mirror", "sheet"))
    program = f"import {modules}, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_presets_allow_ever_more_and_without_flip_takes_only_the_flip_away() -> None:
    phrases = [len(describe(preset(choice))) for choice in Preset]
    assert phrases[0] == 0
    assert phrases == sorted(set(phrases))
    strong = preset(Preset.STRONG)
    assert strong.flip
    differing = [
        item.name for item in fields(strong) if getattr(strong, item.name) != getattr(strong.without_flip(), item.name)
    ]
    assert differing == ["flip"]


def test_every_field_has_its_words() -> None:
    everything = AugmentConfig(
        True,
        11,
        1.2,
        1.3,
        0.14,
        1.5,
        0.16,
        0.17,
        0.18,
        0.19,
        20,
        0.21,
        0.022,
        0.23,
        24,
        0.25,
        0.26,
        0.27,
        3,
        28,
        2.9,
        3.1,
    )
    words = ", ".join(describe(everything))
    for number in (
        "flip",
        "±11 deg",
        "×/1.2",
        "×/1.3",
        "14%",
        "×/1.5",
        "±16%",
        "±17%",
        "±18%",
        "±19%",
        "±20 deg",
        "±21%",
    ):
        assert number in words
    for number in ("2.2%", "23%", "24 of 255", "25%", "26%", "27%", "3 operations at 28", "Beta(2.9", "Beta(3.1"):
        assert number in words


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (preset(Preset.STANDARD), "standard"),
        (preset(Preset.STRONG).without_flip(), "strong without flip"),
        (AugmentConfig(), "none"),
        (AugmentConfig(blur_sigma=0.01), "custom"),
    ],
)
def test_title_knows_the_presets(config: AugmentConfig, name: str) -> None:
    assert title(config) == name


@pytest.mark.parametrize(
    ("field", "value"),
    [("zoom", 0.5), ("brightness", 1.5), ("crop_area", 0.0), ("mixup_alpha", -1.0), ("hue_degrees", float("nan"))],
)
def test_a_value_outside_its_range_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(TrainingError, match=rf"{field} is {value}; expected"):
        AugmentConfig(**{field: value})


@pytest.mark.parametrize(
    "classes",
    [
        ["0", "1", "9"],
        ["zero", "one"],
        ["digit_3", "digit_7"],
        ["speed-limit-50", "stop"],
        ["b", "d"],
        ["Letter P", "Letter Q"],
        ["turn_left", "turn_right"],
        ["TurnLeft", "ahead"],
        ["Pfeil links", "Pfeil rechts"],
        ["clockwise", "counterclockwise"],
        ["arrow", "circle"],
        ["Б", "Г"],
    ],
)
def test_names_that_a_mirror_may_change_are_warned_of(classes: list[str]) -> None:
    warning = mirror_warning(classes, FLIP)
    assert warning is not None
    assert repr(classes[0]) in warning or repr(classes[1]) in warning
    assert "--no-flip" in warning
    assert mirror_warning(classes, FLIP.without_flip()) is None


@pytest.mark.parametrize(
    "classes",
    [
        ["daisy", "dandelion", "rose"],
        ["iphone 12", "bright", "leftover", "northeastern"],
        ["stage 2 rust", "vitamin-c-tablet", "type a"],
        ["牡", "丹"],
        ["sign", "no sign", "_unknown"],
    ],
)
def test_other_names_are_not_warned_of(classes: list[str]) -> None:
    assert mirror_warning(classes, FLIP) is None


def test_the_warning_names_the_classes_it_means_and_no_more_than_five() -> None:
    warning = mirror_warning(["tree", "left", "right"], FLIP)
    assert warning is not None
    assert "'left', 'right' " in warning
    assert "tree" not in warning
    many = mirror_warning([str(number) for number in range(12)], FLIP)
    assert many is not None
    assert "'4' and 7 more" in many
