"""Feeds the original in several ways: what it answers best to is most likely what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.adopt.config import Trial
from export.adopt.interface import ModelInput
from export.adopt.normalisation import PRESETS, name_of, network_input, resolve
from pipeline.backbones.base import Normalisation

# Enough to tell a wrong normalisation from a right one, and a few seconds' work.
MOST_PHOTOS = 64
# Two standard errors of a difference between two answers to the same photos (McNemar 1947).
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True, slots=True)
class Trials:
    """Every way that was tried.

    Attributes:
        names: in words.
        normalisations: as numbers, through ``resolve``.
        right: (ways, n) bool, which photos each answers rightly.
    """

    names: tuple[str, ...]
    normalisations: tuple[Normalisation, ...]
    right: NDArray[np.bool_]

    @property
    def best(self) -> int:
        """The way of most right answers; of equals the first."""
        return int(self.right.sum(axis=1).argmax())

    def clearly_better(self, than: int) -> int | None:
        """The best way, if chance does not explain by how much it beats another."""
        gained = int((self.right[self.best] & ~self.right[than]).sum())
        lost = int((self.right[than] & ~self.right[self.best]).sum())
        return self.best if gained - lost > _STANDARD_ERRORS * np.sqrt(gained + lost) else None

    def ranked(self) -> tuple[Trial, ...]:
        """Best first."""
        found = [
            Trial(name, float(right.mean()), len(right)) for name, right in zip(self.names, self.right, strict=True)
        ]
        return tuple(sorted(found, key=lambda trial: -trial.accuracy))


def candidates(model: ModelInput, chosen: Normalisation | None) -> list[tuple[str, Normalisation]]:
    """Ways to feed a model, in words and numbers: the chosen one first, every preset, and red and blue swapped.

    Ways that feed it the same numbers are one.
    """
    wanted = [] if chosen is None else [chosen, Normalisation(chosen.mean, chosen.scale, not chosen.bgr)]
    if chosen is None and model.quantisation is not None:
        # What the file itself says: a byte is what its input makes of it.
        wanted = [PRESETS["raw"]]
    found: list[tuple[str, Normalisation]] = []
    seen: set[bytes] = set()
    probe = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3).copy()
    probe[..., 0] //= 2  # or a swap of colours would not show
    for normalisation in (*wanted, *PRESETS.values()):
        resolved = resolve(normalisation, model)
        fed = network_input(probe, resolved, model).tobytes()
        if fed not in seen:
            seen.add(fed)
            found.append((name_of(normalisation), resolved))
    return found


def some_of(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of up to ``MOST_PHOTOS``, evenly over the classes."""
    order = np.argsort(labels, kind="stable")
    return np.unique(order[np.linspace(0, len(order) - 1, min(MOST_PHOTOS, len(order))).round().astype(int)])
