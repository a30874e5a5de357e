"""How a camera's pictures and answers were while all was well: learned on the board, kept across restarts."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from device.contract import Manifest
from device.picture_statistics import THUMBNAIL, unit_length

_SCHEMA = 1
_MOST_BYTES = 256 * 1024
_SCALE = 10_000
# What a window's figures are called.
FIGURES = ("brightness", "sharpness", "bright", "mean_probability", "unknown_share")

Share = Annotated[float, Meta(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A minute: medians of the pictures' statistics, means of the answers.

    Attributes:
        figures: one of each of ``FIGURES``.
        thumbnail: (THUMBNAIL, THUMBNAIL) float32, median, of unit length.
        answers: class to count; "" is unknown.
    """

    figures: Mapping[str, float]
    thumbnail: NDArray[np.float32]
    answers: Counter[str]


class Baseline(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What has been learned.

    Attributes:
        schema: of this record.
        windows: that went into it; ``answered`` those whose answers were counted.
        lowest, highest: of each figure, over windows.
        reference: the background, thumbnail in ten-thousandths, row by row.
        likeness: the least correlation of a window with it.
        answers: class to count.
    """

    schema: int = _SCHEMA
    windows: Annotated[int, Meta(ge=0)] = 0
    answered: Annotated[int, Meta(ge=0)] = 0
    lowest: dict[str, Share] = {}
    highest: dict[str, Share] = {}
    reference: list[Annotated[int, Meta(ge=-_SCALE, le=_SCALE)]] = []
    likeness: Annotated[float, Meta(ge=-1.0, le=1.0)] = 1.0
    answers: dict[str, Annotated[int, Meta(ge=0, le=2**53)]] = {}

    def learn(self, window: Window) -> None:
        """Take a window in. The background is the mean of all."""
        seen = np.asarray(self.reference, np.float32).reshape(-1) / _SCALE if self.reference else np.zeros(0)
        flat = window.thumbnail.reshape(-1)
        mean = flat if not len(seen) else (seen * self.windows + flat) / (self.windows + 1)
        self.reference = [round(float(value) * _SCALE) for value in mean]
        self.windows += 1
        for name, value in window.figures.items():
            self.lowest[name] = min(self.lowest.get(name, 1.0), value)
            self.highest[name] = max(self.highest.get(name, 0.0), value)
        self.likeness = min(self.likeness, self.correlation(window))

    def count(self, window: Window) -> None:
        """Count a window's answers."""
        self.answered += 1
        for answer, number in window.answers.items():
            self.answers[answer] = self.answers.get(answer, 0) + number

    def correlation(self, window: Window) -> float:
        """Of a window's background with this one, -1 to 1; 1 where nothing has been learned."""
        if not self.reference:
            return 1.0
        reference = np.asarray(self.reference, np.float32).reshape(THUMBNAIL, THUMBNAIL)
        return max(-1.0, min(1.0, float((unit_length(reference) * window.thumbnail).sum())))


def baseline_file(folder: Path, camera: str, manifest: Manifest) -> Path:
    """Where it is kept. Another version of a model goes on with it: the camera is the same.

    Args:
        folder: for all of them.
        camera: its name.
        manifest: of the bundle.
    """
    about = [camera, manifest.name, manifest.classes, manifest.preprocess]
    return folder / f"{hashlib.sha256(msgspec.json.encode(about)).hexdigest()[:16]}.json"


def load_baseline(path: Path) -> Baseline:
    """What was kept; a new one where there is none, or where it is damaged or of another version."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        found = msgspec.json.decode(data, type=Baseline) if len(data) <= _MOST_BYTES else Baseline()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Baseline()
    sides = len(found.reference) in (0, THUMBNAIL**2) and (found.windows == 0) == (not found.reference)
    figures = all(set(part) == (set(FIGURES) if found.windows else set()) for part in (found.lowest, found.highest))
    return found if found.schema == _SCHEMA and sides and figures else Baseline()


def save_baseline(path: Path, baseline: Baseline) -> bool:
    """Write it, whole or not at all; False where that is not possible."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(baseline))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        return False
    return True


def divergence(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """How far two distributions of answers are apart, 0 to 1: Jensen-Shannon divergence in bits (Lin 1991).

    Args:
        one: class to count, as ``other``; nothing counted is no difference.
    """
    totals = sum(one.values()), sum(other.values())
    if not all(totals):
        return 0.0
    result = 0.0
    for name in one.keys() | other.keys():
        p, q = one.get(name, 0) / totals[0], other.get(name, 0) / totals[1]
        middle = (p + q) / 2
        result += sum(share * math.log2(share / middle) / 2 for share in (p, q) if share)
    return min(1.0, max(0.0, result))
