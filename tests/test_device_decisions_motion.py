"""The motion gate on real video and on still frames with a sensor's noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from device.cameras import open_camera
from device.decisions import MotionGate

Pixels = NDArray[np.uint8]
FPS = 30


def a_room(height: int = 480, width: int = 640) -> Pixels:
    """(height, width, 3) uint8 with edges, shades and fine texture."""
    random = np.random.default_rng(4)
    small = random.integers(40, 200, (6, 8, 3), np.uint8)
    room = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    room += random.integers(-15, 16, room.shape, np.int16)
    return np.clip(room, 0, 255).astype(np.uint8)


def noisy(room: Pixels, seed: int, sigma: float) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, sigma, room.shape)
    return np.clip(room + noise, 0, 255).astype(np.uint8)


def passed(gate: MotionGate, frames: Iterable[Pixels], fps: float = FPS) -> list[int]:
    """Numbers of the frames that are to be classified."""
    return [number for number, pixels in enumerate(frames) if not gate.still(pixels, number / fps)]


def with_square(room: Pixels, left: int, side: int = 60) -> Pixels:
    shown = room.copy()
    shown[200 : 200 + side, left : left + side] = (20, 30, 230)
    return shown


@pytest.mark.parametrize("sigma", [0.0, 4.0, 12.0])
def test_a_still_scene_passes_only_to_keep_alive_whatever_the_noise(sigma: float) -> None:
    gate = MotionGate(linger_s=0.5, keep_alive_s=2.0)
    frames = [noisy(a_room(), seed, sigma) for seed in range(10)]
    numbers = passed(gate, (frames[number % 10] for number in range(10 * FPS)))
    # The first half second, then one in two seconds.
    assert len(numbers) == pytest.approx(FPS / 2 + 5, abs=2)


def test_something_small_that_comes_passes_at_once_and_lingers() -> None:
    gate = MotionGate(linger_s=1.0, keep_alive_s=100.0)
    room = a_room()
    numbers = passed(gate, (with_square(room, 300) if n >= 90 else room for n in range(240)))
    assert numbers == [*range(30), *range(90, 120)]


def test_something_that_creeps_passes_again_and_again() -> None:
    """Two pixels a second: under any difference from one frame to the next."""
    gate = MotionGate(linger_s=0.0, keep_alive_s=1000.0)
    room = a_room()
    numbers = passed(gate, (with_square(room, 100 + 2 * second, 120) for second in range(120)), fps=1.0)
    assert 5 < len(numbers) < 60
    assert max(np.diff(numbers)) < 30


def test_slow_light_costs_few_frames_and_a_lamp_passes_at_once() -> None:
    gate = MotionGate(linger_s=0.0, keep_alive_s=1000.0)
    room = a_room().astype(np.float32)
    # An evening: half of the light goes within ten minutes.
    dusk = [np.clip(room * (1 - 0.5 * second / 600), 0, 255).astype(np.uint8) for second in range(600)]
    assert len(passed(gate, dusk, fps=1.0)) < 20
    lamp = np.clip(room * 0.5 + 40, 0, 255).astype(np.uint8)
    assert not gate.still(lamp, 600.1)
    assert gate.still(lamp, 600.2)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (3000, 20), (1080, 1920)])
def test_a_picture_of_any_size_is_taken_and_the_size_may_change(shape: tuple[int, int]) -> None:
    gate = MotionGate(linger_s=0.0)
    gate.still(a_room(), 0.0)
    assert not gate.still(np.full((*shape, 3), 250, np.uint8), 0.1)
    assert gate.still(np.full((*shape, 3), 250, np.uint8), 0.2)


def test_a_view_into_a_larger_frame_is_read_as_it_looks() -> None:
    gate = MotionGate(linger_s=0.0)
    turned = a_room()[::-1, ::-1][10:400, 20:600]
    gate.still(turned, 0.0)
    assert gate.still(np.ascontiguousarray(turned), 0.1)


@pytest.fixture(scope="module")
def film(shared_data: Path) -> Callable[[str], list[Pixels]]:
    def read(name: str) -> list[Pixels]:
        with open_camera(str(shared_data / "video" / name)) as camera:
            return [frame.pixels for frame in iter(camera.read, None)]

    return read


def test_people_who_walk_pass_and_the_empty_room_between_them_does_not(film: Callable[[str], list[Pixels]]) -> None:
    frames = film("one-by-one-person-detection.mp4")
    numbers = passed(MotionGate(linger_s=0.0), frames, fps=12.0)
    empty = np.median(np.stack(frames[::40]), axis=0).astype(np.uint8)
    people = [float(cv2.absdiff(pixels, empty).mean()) for pixels in frames]
    shown = np.array(people) > 6.0  # somebody fills a part of the picture
    taken = np.zeros(len(frames), bool)
    taken[numbers] = True
    # A frame passes within a third of a second of any that shows somebody who moves.
    near = np.convolve(taken, np.ones(9), "same") > 0
    # Who stands still for longer than that shows no motion.
    assert near[shown].mean() > 0.8
    assert taken[~shown].mean() < 0.5
    assert taken.mean() < 0.9
