"""The rules file: read strictly, and an error says where and what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from device.decisions import EXAMPLE, ClassRule, Rules, RulesError, Smoothing, load_rules

CLASSES = ("rose", "tulip", "Empty shelf")


def load(tmp_path: Path, text: str | bytes) -> Rules:
    path = tmp_path / "rules.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_rules(path, CLASSES)


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """
threshold = 0.7
smoothing = "majority"
window_s = 2
hysteresis = 0.2
dwell_s = 1
least_s = 5.5
hold_s = 60
background = ["Empty shelf"]
[class.rose]
threshold = 0.9
dwell_s = 0
[class.tulip]
ignore = true
"""
    assert load(tmp_path, text) == Rules(
        threshold=0.7,
        smoothing=Smoothing.MAJORITY,
        window_s=2.0,
        hysteresis=0.2,
        dwell_s=1.0,
        least_s=5.5,
        hold_s=60.0,
        background=("Empty shelf",),
        classes={"rose": ClassRule(threshold=0.9, dwell_s=0.0), "tulip": ClassRule(ignore=True)},
    )


def test_an_empty_file_and_the_example_hold_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == load(tmp_path, EXAMPLE) == Rules()


def test_the_example_shows_every_setting_and_its_commented_lines_are_right(tmp_path: Path) -> None:
    for kind in (Rules, ClassRule):
        for setting in msgspec.structs.fields(kind):
            assert re.search(rf"^(# )?\[?{setting.encode_name}\b", EXAMPLE, re.MULTILINE), setting.encode_name
    uncommented = re.sub(r"^# (?=threshold|\[class|dwell_s|ignore)", "", EXAMPLE, flags=re.MULTILINE)
    assert load(tmp_path, uncommented).classes == {"rose": ClassRule(threshold=0.8, dwell_s=1.0)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smoothing =", "rules.toml: not TOML: Invalid value"),
        (b"smoothing = '\xff'", "rules.toml: not TOML: "),
        ("x = " + "[" * 5000, "rules.toml: not TOML: "),
        ("#" * (1024 * 1024 + 1), "rules.toml: more than 1048576 bytes"),
        ("windows_s = 1.0", "rules.toml, windows_s: no such setting; did you mean 'window_s'"),
        ("zzz = 1", "rules.toml, zzz: no such setting; there are: threshold, smoothing,"),
        ("window_s = '1 s'", "rules.toml, window_s: '1 s' came, expected `float`, got `str`"),
        ("window_s = 0.0", "rules.toml, window_s: 0.0 came, expected `float` >= 0.001"),
        ("hysteresis = 1.5", "rules.toml, hysteresis: 1.5 came, expected `float` <= 1.0"),
        ("dwell_s = -1", "rules.toml, dwell_s: -1 came, expected `float` >= 0.0"),
        ("hold_s = nan", "rules.toml, hold_s: nan came, expected a finite number"),
        ("least_s = inf", "rules.toml, least_s: inf came, expected a finite number"),
        ("smoothing = 'mean'", "rules.toml, smoothing: 'mean' came, "),
        ("background = 'rose'", "rules.toml, background: 'rose' came, expected `array`"),
        ("background = [1]", "rules.toml, background"),
        ("background = ['tulips']", "rules.toml, background: the model has no class 'tulips'; did you mean 'tulip'?"),
        ("background = ['empty shelf']", "did you mean 'Empty shelf'?"),
        ("background = ['rose', 'tulip', 'Empty shelf']", "rules.toml, background: it lists every class"),
        ("class = 3", "rules.toml, class: 3 came, expected tables such as [class.rose]"),
        ("class.rose = 3", "rules.toml, class.rose: 3 came, expected a table such as [class.rose]"),
        (
            "[class.Rose]\nignore = true",
            "rules.toml, class.Rose: the model has no class 'Rose'; did you mean 'rose'?",
        ),
        ("[class.xyz]", "rules.toml, class.xyz: the model has no class 'xyz'; there are: rose, tulip, Empty shelf"),
        ("[class.rose]\ntreshold = 0.5", "rules.toml, class.rose.treshold: no such setting; did you mean 'threshold'"),
        ("[class.rose]\nthreshold = 2.0", "rules.toml, class.rose.threshold: 2.0 came, expected `float` <= 1.0"),
        ("[class.rose]\nthreshold = nan", "rules.toml, class.rose.threshold: nan came, expected a finite number"),
        ("[class.rose]\nignore = 1", "rules.toml, class.rose.ignore: 1 came, expected `bool`, got `int`"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str | bytes, expected: str) -> None:
    with pytest.raises(RulesError) as raised:
        load(tmp_path, text)
    assert expected in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "rules.toml"))


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=r"absent\.toml: No such file or directory; expected a TOML file"):
        load_rules(tmp_path / "absent.toml", CLASSES)
    with pytest.raises(RulesError, match="Is a directory"):
        load_rules(tmp_path, CLASSES)
