"""How answers settle, as data: a TOML file that is read strictly."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from device.contract import Fraction
from device.errors import DeviceError
from device.toml_file import read_toml

Seconds = Annotated[float, Meta(ge=0.0, le=86_400.0)]
Window = Annotated[float, Meta(ge=0.001, le=600.0)]

_LIMIT_BYTES = 1024 * 1024
_CLASS = "class"
_T = TypeVar("_T")

EXAMPLE = """\
# How the answers of edgegraft run settle. Every line is optional; the values here are those of a live camera.

# A frame whose most probable class is under this is unknown. Left out: what the bundle was calibrated to.
# threshold = 0.6

# "ema": exponential moving average of the probabilities, window_s is its time constant.
# "majority": the class that held more than half of the last window_s seconds.
# "none": each frame for itself.
smoothing = "ema"
window_s = 0.5

# A settled class stays until it falls this far under its threshold, or another leads it by as much.
hysteresis = 0.1

# A new class, or nothing, must hold so long before it settles; a settled class then stays at least least_s.
dwell_s = 0.3
least_s = 0.0

# Without a fresh frame for so long, the settled class is forgotten.
hold_s = 10.0

# Classes that mean that nothing is there: they are reported frame by frame, and never settle.
background = []

# Rules of one class. With ignore it is never answered: a frame that shows it is unknown.
# [class.rose]
# threshold = 0.8
# dwell_s = 1.0
# ignore = false
"""


class RulesError(DeviceError):
    """A rules file that cannot be read, holds what is not understood, or names a class that the model lacks."""


class Smoothing(Enum):
    """How evidence is gathered over time.

    EMA: exponential moving average of the probabilities; MAJORITY: share of the last seconds that each class was
    answered; NONE: each frame for itself.
    """

    EMA = "ema"
    MAJORITY = "majority"
    NONE = "none"


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything in a rules file."""


class ClassRule(_Table, frozen=True):
    """What is different for one class.

    Attributes:
        threshold: probability from which it is answered; None: as all.
        dwell_s: seconds that it must hold before it settles; None: as all.
        ignore: it is never answered and never settles; a frame that shows it is unknown.
    """

    threshold: Fraction | None = None
    dwell_s: Seconds | None = None
    ignore: bool = False


class Rules(_Table, frozen=True):
    """How the answers of one camera settle; the defaults are for live cameras.

    Attributes:
        threshold: probability from which a class is answered; None: the bundle's ``unknown_threshold``.
        smoothing: see there.
        window_s: time constant of the moving average, or length of the majority's window, seconds.
        hysteresis: in probability (of a majority: in share of the window). A settled class stays until it falls so far
            under its threshold, though never under half of it, or until another leads it by as much.
        dwell_s: seconds that a new class, or nothing, must hold before it settles.
        least_s: seconds that a settled class stays at least.
        hold_s: seconds without a frame after which the settled class is forgotten, or three intervals between frames
            where those are longer.
        background: classes that mean that nothing is there; they never settle.
        classes: what is different for some classes, by name; ``[class.NAME]`` in the file.
    """

    threshold: Fraction | None = None
    smoothing: Smoothing = Smoothing.EMA
    window_s: Window = 0.5
    hysteresis: Fraction = 0.1
    dwell_s: Seconds = 0.3
    least_s: Seconds = 0.0
    hold_s: Seconds = 10.0
    background: tuple[str, ...] = ()
    classes: dict[str, ClassRule] = msgspec.field(default_factory=dict, name=_CLASS)

    @classmethod
    def immediate(cls) -> Rules:
        """For photos and other frames that have nothing to do with one another: what settles is the frame's own."""
        return cls(smoothing=Smoothing.NONE, hysteresis=0.0, dwell_s=0.0)


def load_rules(path: Path, classes: tuple[str, ...]) -> Rules:
    """Read a rules file; ``EXAMPLE`` is one.

    Args:
        path: TOML.
        classes: of the bundle; others must not occur.

    Raises:
        RulesError: it cannot be read, or does not hold what is expected; names the file and the place in it.
    """
    _, table = read_toml(path, "rules", _LIMIT_BYTES, RulesError)
    parts = table.get(_CLASS, {})
    if not isinstance(parts, dict):
        raise RulesError(f"{path}, {_CLASS}: {parts!r} came, expected tables such as [class.{classes[0]}]")
    for name, part in parts.items():
        place = f"class.{name}"
        _require_class(path, place, name, classes)
        if not isinstance(part, dict):
            raise RulesError(f"{path}, {place}: {part!r} came, expected a table such as [{place}]")
        _convert(path, part, ClassRule, f"{place}.")
    rules = _convert(path, table, Rules, "")
    for name in rules.background:
        _require_class(path, "background", name, classes)
    if set(rules.background) >= set(classes):
        raise RulesError(f"{path}, background: it lists every class, so nothing could ever settle; leave one out")
    return rules


def _convert(path: Path, table: Mapping[str, Any], kind: type[_T], prefix: str) -> _T:
    known = [field.encode_name for field in msgspec.structs.fields(kind)]  # type: ignore[arg-type]
    for name, value in table.items():
        if name not in known:
            raise RulesError(f"{path}, {prefix}{name}: no such setting; {_suggestion(name, known)}")
        # TOML has nan, and nan is neither under a limit nor over it.
        if isinstance(value, float) and not math.isfinite(value):
            raise RulesError(f"{path}, {prefix}{name}: {value} came, expected a finite number")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as err:
        expected, _, place = str(err).partition(" - at `$.")
        name = place.rstrip("`")
        came = f"{table[name]!r} came, " if name in table else ""
        raise RulesError(f"{path}, {prefix}{name}: {came}{expected[0].lower()}{expected[1:]}") from err


def _require_class(path: Path, place: str, name: str, classes: Iterable[str]) -> None:
    if name not in classes:
        raise RulesError(f"{path}, {place}: the model has no class '{name}'; {_suggestion(name, list(classes))}")


def _suggestion(name: str, known: list[str]) -> str:
    folded = {each.casefold(): each for each in known}
    close = [folded[each] for each in difflib.get_close_matches(name.casefold(), list(folded), n=3)]
    if close:
        return "did you mean " + " or ".join(f"'{each}'" for each in close) + "?"
    return f"there are: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"
