"""What a moving camera sees: one sign after another comes, stays and goes, with nothing in between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import atan2, degrees, hypot, pi, sin

import numpy as np

from device.scene.signs import DECOYS, NOTHING, SIGNS
from device.scene.world import MIN_SIZE, View, sample_view

# A sign appears at this size, where it is a few pixels large.
_FIRST_SIZE = 0.04
_DECOYS_PER_ROUND = 2
# The shutter is open for half of a frame.
_SHUTTER = 0.5


@dataclass(frozen=True)
class Shot:
    """One frame of the film.

    Attributes:
        view: what to render.
        truth: the class to be answered; None while the sign comes or goes and no answer is wrong.
    """

    view: View
    truth: str | None


@dataclass(frozen=True)
class _Encounter:
    """Times are in frames: ``first`` of the film, the others from there. ``side`` is where it leaves: -1, 1."""

    first: int
    appears: int
    held: int
    leaves: int
    ends: int
    side: int
    seen: View


class Film:
    """Encounters without end. Equal seeds, rates and shapes give equal films.

    Every round of ten shows each sign once and two decoys, in random order. An encounter is 0.8 to 1.8 s of
    nothing, 1 to 1.8 s of approach, 1.6 to 3 s of the sign in full view and 0.6 to 1 s of turning away.
    """

    def __init__(self, seed: int, fps: float, size: tuple[int, int]) -> None:
        """``size``: (height, width) in pixels that the shots will be rendered at."""
        self._seed = seed
        self._fps = fps
        self._half_width = size[1] / min(size) / 2
        self._number = 0
        self._current = self._encounter(0, first=0)

    def shot(self, index: int) -> Shot:
        """The frame of that number. Numbers may be skipped, but must not go back to an earlier encounter."""
        while index >= self._current.first + self._current.ends:
            self._number += 1
            self._current = self._encounter(self._number, self._current.first + self._current.ends)
        view = self._view(index - self._current.first)
        moved = self._blurred(view, self._view(index - self._current.first - 1))
        return Shot(replace(moved, lens=replace(moved.lens, seed=index)), self._truth(moved, index))

    def _encounter(self, number: int, first: int) -> _Encounter:
        rng = np.random.default_rng([self._seed, 5, number])
        name = self._cast(number)
        seen = sample_view(name if name in SIGNS else NOTHING, rng)
        size = max(seen.pose.size, 1.15 * MIN_SIZE)
        # Off the edge of the central square, so that a shaking hand does not push it out.
        reach = 0.45 - 0.4 * size
        pose = replace(seen.pose, size=size, x=float(rng.uniform(-reach, reach)), y=float(rng.uniform(-reach, reach)))
        lasts = rng.uniform((0.8, 1.0, 1.6, 0.6), (1.8, 1.8, 3.0, 1.0)) * self._fps
        appears, held, leaves, ends = np.cumsum(np.maximum(lasts.astype(int), 1)).tolist()
        return _Encounter(
            first, appears, held, leaves, ends, int(rng.choice((-1, 1))), replace(seen, art=name, pose=pose)
        )

    def _cast(self, number: int) -> str:
        per_round = len(SIGNS) + _DECOYS_PER_ROUND
        rng = np.random.default_rng([self._seed, 6, number // per_round])
        names = [*SIGNS, *rng.choice(DECOYS, _DECOYS_PER_ROUND, replace=False).tolist()]
        return str(names[rng.permutation(per_round)[number % per_round]])

    def _view(self, frame: int) -> View:
        """What is seen ``frame`` frames into the encounter, with a sharp lens."""
        now = self._current
        coming = _eased((frame - now.appears) / (now.held - now.appears))
        going = max(0.0, (frame - now.leaves) / (now.ends - now.leaves)) ** 2
        shake_x, shake_y = self._shake(frame)
        held = now.seen.pose
        size = _FIRST_SIZE * (held.size / _FIRST_SIZE) ** coming
        # In perspective, the way from the vanishing point grows as the size does.
        share = size / held.size
        travel = self._half_width + 0.75 * held.size - now.side * held.x
        pose = replace(
            held,
            size=size,
            x=held.x * share + now.side * travel * going + shake_x,
            y=held.y * share + shake_y,
            yaw_deg=held.yaw_deg + 4 * sin(frame / self._fps),
        )
        # The backdrop is farther than the sign and moves less.
        outlook = replace(
            now.seen.outlook,
            pan=now.seen.outlook.pan - now.side * 0.55 * going - shake_x,
            tilt=now.seen.outlook.tilt - shake_y,
            zoom=now.seen.outlook.zoom * (0.9 + 0.1 * coming),
        )
        return replace(now.seen, art=now.seen.art if frame >= now.appears else None, pose=pose, outlook=outlook)

    def _shake(self, frame: int) -> tuple[float, float]:
        seconds = (frame + self._current.first) / self._fps
        return 0.006 * sin(2 * pi * 0.7 * seconds), 0.005 * sin(2 * pi * 1.1 * seconds + 1)

    def _blurred(self, view: View, before: View) -> View:
        dx = view.outlook.pan - before.outlook.pan if view.art is None else view.pose.x - before.pose.x
        dy = view.outlook.tilt - before.outlook.tilt if view.art is None else view.pose.y - before.pose.y
        # A slow film's steps are large, but its shutter is open no longer than a camera's.
        length = min(0.1, _SHUTTER * hypot(dx, dy) * min(1.0, self._fps / 15))
        return replace(view, lens=replace(view.lens, motion=length, motion_angle_deg=degrees(atan2(dy, dx))))

    def _truth(self, view: View, index: int) -> str | None:
        pose = view.pose
        if view.label == NOTHING or abs(pose.x) > self._half_width + 0.6 * pose.size:
            return NOTHING
        leaving = index - self._current.first > self._current.leaves
        # A centre crop shows the central square only: a sign that is not inside is not there to be seen.
        inside = max(abs(pose.x), abs(pose.y)) <= 0.5 - 0.4 * pose.size
        return view.label if inside and pose.size >= MIN_SIZE and not leaving else None


def _eased(progress: float) -> float:
    bounded = min(1.0, max(0.0, progress))
    return bounded * bounded * (3 - 2 * bounded)
