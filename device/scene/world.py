"""A camera's view of a traffic sign in clutter: what is in it (``View``), chance (``sample_view``), picture.

Lengths are fractions of the picture's short side wherever they may be, so that one view can be rendered at any
size. The order of the rendering is the light's: backdrop, pole, sign, what hangs before it, light, lens, sensor,
JPEG.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from device.preprocess import Pixels
from device.scene.backdrop import HEIGHT, WIDTH, backdrop
from device.scene.clutter import clouds, leaves
from device.scene.optics import Lens, Light, illuminate, photograph
from device.scene.signs import DECOYS, NOTHING, SIGNS, art, art_side

# Sizes of the training set. A person reads signs of half the smallest; a backbone with some fifty photos of each
# class does not: with 0.17 EfficientNet-Lite0 came to 78 % on the test split.
MIN_SIZE = 0.34
MAX_SIZE = 0.85

# Focal length over the short side: 46 degrees across it, about what webcams and Pi cameras have.
_FOCAL = 1.18


@dataclass(frozen=True)
class Pose:
    """Where the sign is and how it is turned.

    Attributes:
        x: its centre from the picture's centre, to the right; 0.5 is the edge of the central square.
        y: its centre from the picture's centre, downwards.
        size: its diameter.
        yaw_deg: turned about the vertical.
        pitch_deg: tilted forwards or backwards.
        roll_deg: turned clockwise.
    """

    x: float
    y: float
    size: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float


@dataclass(frozen=True)
class Wear:
    """What weather and neighbours did to the sign.

    Attributes:
        fade: 0 new, 1 bleached to grey.
        dirt: share of the dirt's full strength.
        leaves: leaves hanging before its rim.
        pole: it stands on a pole, else it hangs on something.
        brightness: gain of the sign against its surroundings: the sun falls on one and not on the other.
        seed: of the patterns.
    """

    fade: float
    dirt: float
    leaves: int
    pole: bool
    brightness: float
    seed: int


@dataclass(frozen=True)
class Outlook:
    """Which part of which backdrop the camera sees.

    Attributes:
        seed: of the backdrop.
        pan: to the right, in picture heights from the backdrop's middle; beyond its edge it is mirrored.
        tilt: downwards, likewise.
        zoom: 1 shows its full height.
    """

    seed: int
    pan: float
    tilt: float
    zoom: float


@dataclass(frozen=True)
class View:
    """All that decides a picture. ``art``: a sign, a decoy, or None for an empty scene."""

    art: str | None
    pose: Pose
    wear: Wear
    outlook: Outlook
    light: Light
    lens: Lens

    @property
    def label(self) -> str:
        """The class that the picture belongs to; a decoy is ``nothing``."""
        return self.art if self.art in SIGNS else NOTHING


def sample_view(label: str, rng: np.random.Generator) -> View:
    """Draw a view of a class.

    ``nothing`` is an empty scene for 55 %, else one with a decoy. The sign's size is log-uniform from
    ``MIN_SIZE`` to ``MAX_SIZE``, its centre uniform where it stays inside the central square (a centre crop
    keeps it) up to a tenth of its size; yaw is normal with 17 degrees (at most 45), pitch with 7 (20), roll
    with 5 (12). A third have dirt, a third leaves before the rim, three in four a pole. Light and lens: see
    ``Light.sample`` and ``Lens.sample``.

    Raises:
        KeyError: ``label`` is not in ``CLASSES``.
    """
    thing = _sample_decoy(rng) if label == NOTHING else _known(label)
    size = float(np.exp(rng.uniform(np.log(MIN_SIZE), np.log(MAX_SIZE))))
    return View(
        art=thing,
        pose=_sample_pose(rng, size),
        wear=_sample_wear(rng),
        outlook=Outlook(
            seed=int(rng.integers(2**31)),
            pan=float(rng.uniform(-0.2, 0.2)),
            tilt=float(rng.uniform(-0.05, 0.05)),
            zoom=float(rng.uniform(1.12, 1.7)),
        ),
        light=Light.sample(rng),
        lens=Lens.sample(rng, size),
    )


def render(view: View, size: tuple[int, int]) -> Pixels:
    """Take the picture. Equal views give equal pixels.

    Args:
        view: what is to be seen.
        size: (height, width) in pixels.

    Returns:
        (height, width, 3) uint8, BGR.
    """
    canvas = _look_out(view.outlook, size)
    if view.art is not None:
        _hang(canvas, view.art, view.pose, view.wear)
    return photograph(illuminate(canvas, view.light), view.lens)


def _sample_decoy(rng: np.random.Generator) -> str | None:
    return str(rng.choice(DECOYS)) if rng.random() < 0.45 else None


def _known(label: str) -> str:
    if label not in SIGNS:
        raise KeyError(f"no class '{label}'; there are: {', '.join(SIGNS)} and {NOTHING}")
    return label


def _sample_pose(rng: np.random.Generator, size: float) -> Pose:
    reach = 0.5 - 0.4 * size
    return Pose(
        x=float(rng.uniform(-reach, reach)),
        y=float(rng.uniform(-reach, reach)),
        size=size,
        yaw_deg=float(np.clip(rng.normal(0, 17), -45, 45)),
        pitch_deg=float(np.clip(rng.normal(0, 7), -20, 20)),
        roll_deg=float(np.clip(rng.normal(0, 5), -12, 12)),
    )


def _sample_wear(rng: np.random.Generator) -> Wear:
    return Wear(
        fade=float(rng.uniform(0, 0.3)),
        dirt=float(rng.uniform(0.2, 1)) if rng.random() < 0.35 else 0.0,
        leaves=int(rng.integers(3, 11)) if rng.random() < 0.33 else 0,
        pole=bool(rng.random() < 0.75),
        brightness=float(rng.uniform(0.72, 1.12)),
        seed=int(rng.integers(2**31)),
    )


def _look_out(outlook: Outlook, size: tuple[int, int]) -> Pixels:
    height, width = size
    scale = min(HEIGHT / height, WIDTH / width) / outlook.zoom
    left = WIDTH / 2 + outlook.pan * HEIGHT - scale * width / 2
    top = HEIGHT / 2 + outlook.tilt * HEIGHT - scale * height / 2
    matrix = np.array([[scale, 0, left], [0, scale, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(backdrop(outlook.seed), matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen)


def _hang(canvas: Pixels, name: str, pose: Pose, wear: Wear) -> None:
    corners = _project(pose, canvas.shape[:2])
    diameter = pose.size * min(canvas.shape[:2])
    if wear.pole:
        _plant_pole(canvas, corners, diameter, wear)
    _paste(canvas, _weathered(name, art_side(diameter), wear), corners)
    if wear.leaves:
        rng = np.random.default_rng([wear.seed, 2])
        angle = rng.uniform(0, 2 * np.pi)
        rim = corners.mean(0) + diameter * 0.47 * np.array([np.cos(angle), np.sin(angle)])
        centres = rng.normal(rim, diameter * 0.1, (wear.leaves, 2))
        leaves(canvas, rng, centres, diameter * 0.16, (44, 96, 70))


def _project(pose: Pose, size: tuple[int, ...]) -> NDArray[np.float32]:
    """The corners of the sign's square in the picture: (4, 2) float32 pixels, clockwise from the top left.

    A pinhole camera (Hartley and Zisserman, "Multiple View Geometry", chapter 6) and a square of side 1 at
    the distance where its frontal diameter is ``pose.size``.
    """
    yaw, pitch, roll = np.radians([pose.yaw_deg, pose.pitch_deg, pose.roll_deg])
    turn = _axis_turn(0, 2, yaw) @ _axis_turn(1, 2, pitch) @ _axis_turn(0, 1, roll)
    flat = np.array([(-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0)])
    distance = _FOCAL / pose.size
    centre = np.array([pose.x, pose.y, _FOCAL]) * distance / _FOCAL
    points = flat @ turn.T + centre
    seen = _FOCAL * points[:, :2] / points[:, 2:]
    height, width = size[:2]
    return np.asarray(seen * min(height, width) + (width / 2, height / 2), np.float32)


def _axis_turn(first: int, second: int, angle: float) -> NDArray[np.float64]:
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -np.sin(angle)
    return matrix


def _plant_pole(canvas: Pixels, corners: NDArray[np.float32], diameter: float, wear: Wear) -> None:
    height = canvas.shape[0]
    top, bottom = corners[:2].mean(0), corners[2:].mean(0)
    down = bottom - top
    # As far as it takes to leave the picture, whatever the tilt.
    end = top + down * (1 + 2 * height / max(1.0, float(down[1])))
    width = max(2, round(diameter * 0.075))
    grey = 128 * wear.brightness + wear.seed % 40
    start, stop = np.round(top + down * 0.2).astype(int), np.round(end).astype(int)
    cv2.line(canvas, start.tolist(), stop.tolist(), (grey * 0.7,) * 3, width, cv2.LINE_AA)
    shine = np.array([width // 4, 0])
    cv2.line(canvas, (start - shine).tolist(), (stop - shine).tolist(), (grey,) * 3, max(1, width // 3), cv2.LINE_AA)


# The sign that a moving camera looks at, in the sizes that it passes through.
@lru_cache(maxsize=4)
def _weathered(name: str, side: int, wear: Wear) -> Pixels:
    """Fade, soil and light a sign: (side, side, 4) uint8, premultiplied as ``art`` is."""
    rng = np.random.default_rng([wear.seed, 3])
    painted = art(name, side).astype(np.float32)
    cover = painted[..., 3:]
    colour = painted[..., :3]
    colour += (cover * np.float32(0.66) - colour) * np.float32(wear.fade)
    if wear.dirt:
        patches = cv2.resize(clouds(rng, 96, 96), (side, side))
        soil = np.clip(patches * 0.35, 0, 0.75)[..., None] * np.float32(wear.dirt)
        colour += (cover * np.array([0.2, 0.27, 0.33], np.float32) - colour) * soil
    # The plate is never lit evenly; the slope goes over a quarter of its brightness at most.
    slope = np.linspace(-1, 1, side, dtype=np.float32)
    across, down = rng.uniform(-0.12, 0.12, 2)
    colour *= np.float32(wear.brightness) * (1 + across * slope[None, :, None] + down * slope[:, None, None])
    return np.minimum(painted, 255).astype(np.uint8)


def _paste(canvas: Pixels, plate: Pixels, corners: NDArray[np.float32]) -> None:
    height, width = canvas.shape[:2]
    left, top = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, (width, height)).tolist()
    if right <= left or bottom <= top:
        return
    side = plate.shape[0]
    square = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float32) - np.float32(0.5)
    matrix = cv2.getPerspectiveTransform(square, corners - np.array([left, top], np.float32))
    warped = cv2.warpPerspective(plate, matrix, (right - left, bottom - top))
    region = canvas[top:bottom, left:right]
    gap = cv2.cvtColor(255 - warped[..., 3], cv2.COLOR_GRAY2BGR)
    region[:] = cv2.add(cv2.multiply(region, gap, scale=1 / 255), warped[..., :3])
