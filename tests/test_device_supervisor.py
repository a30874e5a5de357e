"""A camera that is kept going: what makes it degraded, what opens it again, and that nothing is left behind."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import plain_picture

from device.cameras.base import Frame
from device.cameras.fake import FakeCamera
from device.cameras.spec import CameraSpec
from device.cameras.supervisor import BackOff, SupervisedFeed, Supervision
from device.errors import BadFrame, CameraError
from device.intake import Intake
from device.status import State

PATIENCE_S = 30.0
# Everything a hundred times faster than on a board.
QUICK = Supervision(
    stall_s=0.2, first_frame_s=0.4, frozen_s=0.15, hang_s=0.3, back_off_s=0.005, most_back_off_s=0.02, steady_s=0.1
)


class Scripted(FakeCamera):
    """A live camera that counts up, and fails, stalls, freezes or hangs where it is told to."""

    def __init__(self, frames: int = 10**9, then: Exception | None = None, pause_s: float = 0.002) -> None:
        super().__init__([], live=True)
        self._left = frames
        self._then = then
        self._pause_s = pause_s
        self.released = threading.Event()
        self._number = 0

    def read(self) -> Frame | None:
        if self._left == 0:
            if self._then is not None:
                raise self._then
            self.released.wait(PATIENCE_S)  # stalls until it is interrupted
            return None
        self._left -= 1
        time.sleep(self._pause_s)
        self._number += 1
        return self._frame(self._number)

    def _frame(self, number: int) -> Frame:
        pixels = plain_picture("red", 8, 8).copy()
        pixels[0, 0, 0] = number % 251
        return FakeCamera([pixels]).read()  # type: ignore[return-value]

    def interrupt(self) -> None:
        self.released.set()


class Frozen(Scripted):
    def _frame(self, number: int) -> Frame:
        return super()._frame(7)


class Deaf(Scripted):
    """Its driver does not return, whatever is done; the test releases it at its end."""

    def interrupt(self) -> None:
        pass


class Bench:
    """A feed, what it was opened with, what it told, and somebody who looks at it as the runtime does."""

    def __init__(self, sources: Callable[[int], FakeCamera], fps: float | None = None, limits: Supervision = QUICK):
        self.opened: list[FakeCamera] = []
        self.told: list[str] = []
        self.intake = Intake([True])
        self._sources = sources
        spec = CameraSpec("door", True, self._open, fps=fps)
        self.feed = SupervisedFeed(spec, self.intake, 0, limits, self.told.append)

    def _open(self) -> FakeCamera:
        source = self._sources(len(self.opened))
        self.opened.append(source)
        return source

    def until(self, reached: Callable[[], bool]) -> None:
        """Look after it until something holds; fails when that never comes."""
        end = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < end, (self.feed.status(), self.told)
            self.feed.check(time.monotonic())
            time.sleep(0.005)

    def __enter__(self) -> Bench:
        self.feed.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.feed.stop()
        for source in self.opened:
            if isinstance(source, Scripted):
                source.released.set()


def test_it_starts_while_the_camera_is_absent_and_goes_on_when_it_comes() -> None:
    def sources(tried: int) -> FakeCamera:
        if len(bench.told) == 0 or time.monotonic() < arrives:
            raise CameraError("/dev/video7: no such camera; plug it in")
        return Scripted()

    arrives = time.monotonic() + 0.3
    bench = Bench(sources)
    with bench:
        bench.until(lambda: bench.feed.status().state is State.DEGRADED)
        assert "no such camera; plug it in" in bench.feed.status().reason
        bench.until(lambda: bench.feed.status().state is State.OK)
        status = bench.feed.status()
    assert status.frames >= 1
    assert (status.width, status.height, status.reopened) == (8, 8, 0)
    # One line for the log however often it was tried.
    assert len(bench.told) == 1
    assert bench.told[0] == "camera door: /dev/video7: no such camera; plug it in; trying again"


def test_one_that_is_cut_is_opened_again_and_both_are_told() -> None:
    bench = Bench(lambda tried: Scripted(5, CameraError("door: stopped delivering")) if tried == 0 else Scripted())
    with bench:
        bench.until(lambda: len(bench.opened) == 2 and bench.feed.status().state is State.OK)
        assert bench.feed.status().reopened == 1
    assert bench.opened[0].closed
    assert bench.told == ["camera door: door: stopped delivering; trying again", "camera door: frames come again"]


def test_one_that_stalls_is_interrupted_from_outside_and_opened_again() -> None:
    bench = Bench(lambda tried: Scripted(5) if tried == 0 else Scripted())
    with bench:
        bench.until(lambda: len(bench.opened) == 2 and bench.feed.status().state is State.OK)
    assert bench.opened[0].closed
    assert "no frame for 0.2 s" in bench.told[0]


def test_one_that_never_delivers_a_frame_is_given_longer_and_then_opened_again() -> None:
    bench = Bench(lambda tried: Scripted(0) if tried == 0 else Scripted())
    with bench:
        bench.until(lambda: bench.feed.status().state is State.OK)
    assert "no frame for 0.4 s" in bench.told[0]


def test_one_that_repeats_its_picture_is_frozen_and_its_pictures_are_answered_no_more() -> None:
    bench = Bench(lambda tried: Frozen() if tried == 0 else Scripted())
    with bench:
        bench.until(lambda: len(bench.opened) == 2 and bench.feed.status().state is State.OK)
    assert "the same picture for 0.15 s" in bench.told[0]


def test_one_whose_driver_hangs_is_not_opened_twice_and_says_so() -> None:
    bench = Bench(lambda tried: Deaf(3))
    with bench:
        bench.until(lambda: bench.feed.hung)
        assert bench.feed.status().state is State.DEGRADED
        assert len(bench.opened) == 1
        bench.opened[0].released.set()  # type: ignore[attr-defined]


def test_bad_frames_are_counted_and_the_next_is_taken() -> None:
    class Flaky(Scripted):
        def _frame(self, number: int) -> Frame:
            if number % 3 == 0:
                raise BadFrame("cut short")
            return super()._frame(number)

    bench = Bench(lambda tried: Flaky())
    with bench:
        bench.until(lambda: bench.feed.status().frames > 20)
        status = bench.feed.status()
    assert status.state is State.OK
    assert status.bad >= 9
    assert len(bench.opened) == 1


def test_one_that_delivers_nothing_but_bad_frames_is_opened_again() -> None:
    class Broken(Scripted):
        def _frame(self, number: int) -> Frame:
            raise BadFrame("corrupt")

    bench = Bench(lambda tried: Broken() if tried == 0 else Scripted())
    with bench:
        bench.until(lambda: bench.feed.status().state is State.OK)
    assert bench.feed.status().bad > 0


def test_one_that_is_slower_than_asked_for_is_degraded_but_left_alone() -> None:
    bench = Bench(lambda tried: Scripted(pause_s=0.05), fps=200, limits=Supervision(rate_window_s=0.2))
    with bench:
        bench.until(lambda: bench.feed.status().state is State.DEGRADED)
        assert "where 200 were asked for" in bench.feed.status().reason
        assert len(bench.opened) == 1


def test_one_that_runs_wild_is_held_down() -> None:
    limits = Supervision(most_fps=50, rate_window_s=0.2)
    bench = Bench(lambda tried: Scripted(pause_s=0.0), limits=limits)
    with bench:
        bench.until(lambda: "too fast" in bench.feed.status().reason)
        assert bench.feed.status().frames_per_second < 100


def test_it_is_looked_after_while_frames_come() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns all the time, as on a busy board
    try:
        with Bench(lambda tried: Scripted(pause_s=0.0), limits=replace(QUICK, most_fps=1e5)) as bench:
            bench.until(lambda: bench.feed.status().frames > 1024)
            for _ in range(3000):
                bench.feed.check(time.monotonic())
                assert bench.feed.status().frames_per_second > 0
    finally:
        sys.setswitchinterval(before)


def test_a_film_that_comes_to_its_end_ends_its_lane() -> None:
    pictures = [np.full((8, 8, 3), shade, np.uint8) for shade in range(5)]
    bench = Bench(lambda tried: FakeCamera(pictures, live=True))
    with bench:
        bench.until(lambda: bench.intake.get(0.01) is None and bench.intake.ended)
    assert len(bench.opened) == 1


def test_a_different_size_after_opening_again_is_taken() -> None:
    def sources(tried: int) -> FakeCamera:
        side = 8 if tried == 0 else 24

        class Sized(Scripted):
            def _frame(self, number: int) -> Frame:
                pixels = np.full((side, side, 3), number % 250, np.uint8)
                return FakeCamera([pixels]).read()  # type: ignore[return-value]

        return Sized(5, CameraError("cut")) if tried == 0 else Sized()

    bench = Bench(sources)
    with bench:
        bench.until(lambda: bench.feed.status().width == 24)


def test_waits_grow_to_a_limit_with_jitter_and_start_small_again() -> None:
    limits = Supervision(back_off_s=0.5, most_back_off_s=30, jitter=0.2)
    middle = BackOff(limits, draw=lambda: 0.5)
    assert [middle.next_s() for _ in range(9)] == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30])
    middle.reset()
    assert middle.next_s() == pytest.approx(0.5)
    assert BackOff(limits, draw=lambda: 0.0).next_s() == pytest.approx(0.4)
    assert BackOff(limits, draw=lambda: 1.0).next_s() == pytest.approx(0.6)
    forever = BackOff(limits, draw=lambda: 0.5)
    assert {forever.next_s() for _ in range(5000)} <= {0.5, 1, 2, 4, 8, 16, 30}


def test_a_thousand_reconnects_leave_no_thread_and_no_descriptor() -> None:
    class Held(Scripted):
        """Holds a descriptor, as a device does."""

        def __init__(self) -> None:
            super().__init__(1, CameraError("cut"), pause_s=0.0)
            self._file = Path("/dev/null").open("rb")  # noqa: SIM115 - closed in close

        def close(self) -> None:
            self._file.close()
            super().close()

    limits = Supervision(back_off_s=1e-4, most_back_off_s=1e-4)
    bench = Bench(lambda tried: Held(), limits=limits)
    gc.collect()  # what an earlier test left open may not close while this one counts
    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    with bench:
        bench.until(lambda: len(bench.opened) >= 1000)
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
    assert all(source.closed for source in bench.opened)
    assert len(bench.told) <= 2 * len(bench.opened)
