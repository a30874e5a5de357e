"""The table of exit codes in device/README.md is that of the classes."""

from __future__ import annotations

import re
from pathlib import Path

from device.releases import refusals


def test_every_refusal_has_a_code_of_its_own_and_stands_in_the_table() -> None:
    classes = [one for one in vars(refusals).values() if isinstance(one, type) and one.__base__ is refusals.Refusal]
    codes = {one.exit_code: one.__name__ for one in classes}
    assert len(codes) == len(classes)
    readme = (Path(__file__).parent.parent / "device" / "README.md").read_text()
    assert set(map(int, re.findall(r"^\| (\d\d) \|", readme, re.MULTILINE))) == set(codes)
