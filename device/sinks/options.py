"""What stands behind the ``?`` of a sink's URI."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from device.errors import SinkError

_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Option:
    """How the text of one option is read; ``read`` raises ValueError or KeyError for what is not ``expected``."""

    read: Callable[[str], Any]
    expected: str


def number(least: float, most: float) -> Option:
    """A number between these, both allowed."""
    return Option(lambda text: _within(float(text), least, most), f"a number from {least:g} to {most:g}")


def whole(least: int, most: int) -> Option:
    """A whole number between these, both allowed."""
    return Option(lambda text: _within(int(text), least, most), f"a whole number from {least} to {most}")


def flag() -> Option:
    """``1`` or ``0``."""
    return Option(lambda text: _BOOLEANS[text.lower()], "1 or 0")


def choice(values: Mapping[str, Any]) -> Option:
    """One of these names; the value is what it stands for."""
    return Option(lambda text: values[text], f"one of {', '.join(values)}")


def choices(values: Mapping[str, Any]) -> Option:
    """Several of these names, with commas between; the value is a frozenset."""
    return Option(lambda text: frozenset(values[part] for part in text.split(",")), f"some of {','.join(values)}")


def name() -> Option:
    """A class's name."""
    return Option(_not_empty, "the name of a class")


def read_options(uri: str, known: Mapping[str, Option], needed: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """Take ``scheme:TARGET?option=value&...`` apart; these sinks' URIs hold no secrets.

    Returns:
        the target, percent-decoding done, and the options that were given.

    Raises:
        SinkError: no target, an unknown option, one that is missing, or a value that is not as expected.
    """
    address, _, query = uri.partition("?")
    target = unquote(address.partition(":")[2])
    if not target or "\0" in target:
        raise SinkError(f"{uri}: nothing stands behind '{address.partition(':')[0]}:'; expected a name there")
    values: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise SinkError(f"{uri}: unknown option '{key}'; known are: {', '.join(known)}")
        try:
            values[key] = known[key].read(text)
        except (KeyError, ValueError) as err:
            raise SinkError(f"{uri}: '{key}' is {text!r}, expected {known[key].expected}") from err
    missing = [key for key in needed if key not in values]
    if missing:
        raise SinkError(f"{uri}: option '{missing[0]}' is missing, {known[missing[0]].expected}")
    return target, values


def _within(value: Any, least: float, most: float) -> Any:
    if not math.isfinite(value) or not least <= value <= most:
        raise ValueError(value)
    return value


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text
