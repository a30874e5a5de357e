"""The frame-rate cap and the power mode."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from device.decisions import FrameRateCap, PowerConfig, PowerLevel, PowerMode


def camera(fps: float, seconds: float, jitter_s: float = 0.0) -> list[float]:
    random = np.random.default_rng(2)
    times = 1000.0 + np.arange(round(seconds * fps)) / fps
    return [float(at) for at in np.maximum.accumulate(times + random.uniform(-jitter_s, jitter_s, len(times)))]


@pytest.mark.parametrize("fps", [0.1, 1.0, 7.0, 12.5, 20.0, 29.0])
@pytest.mark.parametrize("jitter_s", [0.0, 0.004])
def test_the_rate_is_kept_without_drift_whatever_the_cameras_own(fps: float, jitter_s: float) -> None:
    cap = FrameRateCap(fps)
    passed = [at for at in camera(30.0, 600.0, jitter_s) if cap.due(at)]
    assert len(passed) == pytest.approx(600 * fps, abs=0.005 * 600 * fps + 1)


def test_a_camera_at_the_caps_own_rate_loses_next_to_nothing_to_jitter() -> None:
    cap = FrameRateCap(30.0)
    assert sum(cap.due(at) for at in camera(30.0, 60.0, 0.0015)) >= 0.99 * 1800


def test_without_a_cap_every_frame_is_due() -> None:
    assert all(FrameRateCap(None).due(at) for at in [1.0, 1.0, 1.001, 0.5])


def test_a_pause_is_not_made_up_for() -> None:
    cap = FrameRateCap(10.0)
    before = sum(cap.due(at / 100) for at in range(100))
    after = sum(cap.due(60.0 + at / 100) for at in range(100))
    # One that comes a tenth of an interval early is in time.
    assert before in (10, 11) and after in (10, 11)


def test_a_new_limit_holds_from_the_last_frame_on() -> None:
    cap = FrameRateCap(0.01)
    assert cap.due(0.0)
    assert not cap.due(50.0)
    cap.limit(1.0)
    assert cap.due(51.0)
    assert not cap.due(51.5)
    cap.limit(None)
    assert cap.due(51.6)
    cap.limit(0.1)
    assert not cap.due(60.0)
    assert cap.due(61.7)


def test_setting_the_same_limit_again_and_again_changes_nothing() -> None:
    cap, steady = FrameRateCap(7.0), FrameRateCap(7.0)
    for at in camera(30.0, 20.0):
        cap.limit(7.0)
        assert cap.due(at) == steady.due(at)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0"):
        FrameRateCap(fps)


def test_a_board_that_gets_hot_does_less_and_more_again_when_it_has_cooled() -> None:
    mode = PowerMode(PowerConfig(eco_celsius=70, minimal_celsius=80, cooler_celsius=5, eco_fps=4, minimal_fps=0.5))
    course = [
        (50, None),
        (69.9, None),
        (70, 4),
        (66, 4),
        (64.9, None),
        (85, 0.5),
        (76, 0.5),
        (74, 4),
        (66, 4),
        (60, None),
    ]
    assert [(celsius, mode.limit(celsius)) for celsius, _ in course] == course
    assert mode.level is PowerLevel.FULL


def test_a_temperature_at_a_limit_does_not_flap() -> None:
    mode, random = PowerMode(), np.random.default_rng(6)
    limits = [mode.limit(75.0 + float(random.normal(0, 1.0))) for _ in range(500)]
    assert sum(a != b for a, b in itertools.pairwise(limits)) <= 1


def test_a_thermometer_that_is_absent_or_fails_changes_nothing() -> None:
    assert PowerMode().limit(None) is None
    mode = PowerMode()
    mode.limit(90.0)
    assert mode.limit(None) == mode.limit(float("nan")) == PowerConfig().minimal_fps
