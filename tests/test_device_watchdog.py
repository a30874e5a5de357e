"""What the service manager hears, over a real socket, and when it is not fed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from notify_manager import NotifyManager

from device.status import CameraStatus, ModelStatus, State, Status
from device.watchdog import Keeper, Notifier, Progress, deserves, progress_of, watchdog_interval_s

MODEL = ModelStatus(
    bundle="b", version="1.0.0", variant="v", engine="litert", accelerator="cpu", threads=1, classes=("a", "b")
)


def camera(state: State = State.OK, frames: int = 0) -> CameraStatus:
    return CameraStatus(name="c", state=state, since=0.0, frames=frames)


def status(*cameras: CameraStatus, at: float | None = None, reasons: tuple[str, ...] = ()) -> Status:
    state = State.DEGRADED if reasons else State.OK
    return Status(state=state, reasons=reasons, at=0.0, started_at=0.0, progressed_at=at, cameras=cameras, model=MODEL)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> NotifyManager:  # type: ignore[misc]
    address = str(tmp_path / "notify") if request.param == "path" else f"@edgegraft-test-{os.getpid()}"
    with NotifyManager(address) as manager:
        yield manager


def test_every_word_reaches_the_manager(manager: NotifyManager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address}
    notifier = Notifier(environ)
    assert all([notifier.ready(), notifier.alive(), notifier.status("two\nlines, ünïcode"), notifier.stopping()])
    assert manager.all() == ["READY=1", "WATCHDOG=1", "STATUS=two lines, ünïcode", "STOPPING=1"]
    assert environ == {}  # what the service starts cannot speak for it


def test_without_a_manager_or_with_a_dead_one_nothing_happens(tmp_path: Path) -> None:
    assert not Notifier({}).ready()
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).alive()


def test_a_manager_that_does_not_read_does_not_stop_the_work(manager: NotifyManager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    sent = [notifier.alive() for _ in range(5000)]
    assert sent[0]
    assert not sent[-1]


def test_the_interval_is_that_of_this_process_only() -> None:
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000"}) == 30.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 30.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "soon"}) is None
    assert watchdog_interval_s({}) is None


def test_fed_when_a_frame_was_dealt_with_also_by_a_clock_that_was_set_back() -> None:
    before = progress_of(status(camera(frames=100), at=1000.0))
    assert deserves(status(camera(frames=101), at=1000.1), before)
    assert deserves(status(camera(frames=101), at=3.0), before)


def test_not_fed_when_frames_come_and_none_is_dealt_with() -> None:
    before = progress_of(status(camera(frames=100), at=1000.0))
    assert not deserves(status(camera(frames=101), at=1000.0), before)
    # Nor does it help that meanwhile the camera, or another one, is away.
    late = camera(State.DEGRADED, frames=101)
    assert not deserves(status(late, at=1000.0, reasons=("camera c: gone",)), before)
    assert not deserves(status(late, camera(State.DEGRADED), at=1000.0, reasons=("camera c: gone",)), before)
    # Nor a first frame that never comes back from the model.
    assert not deserves(status(camera(frames=1), at=None), Progress())


def test_not_fed_when_nothing_is_done_and_nobody_says_why() -> None:
    before = progress_of(status(camera(frames=100), at=1000.0))
    assert not deserves(status(camera(frames=100), at=1000.0), before)
    assert not deserves(status(camera(State.STARTING)), Progress())


def test_fed_when_the_camera_is_away_and_that_is_said() -> None:
    gone = status(camera(State.DEGRADED, frames=100), at=1000.0, reasons=("camera c: no frame for 5 s",))
    assert deserves(gone, progress_of(gone))
    assert deserves(status(camera(State.DEGRADED), reasons=("camera c: not there",)), Progress())


def test_the_keeper_says_ready_once_feeds_and_tells_the_state(manager: NotifyManager) -> None:
    keeper = Keeper(Notifier({"NOTIFY_SOCKET": manager.address}), interval_s=1e-6)
    assert not keeper.feed(status(camera(State.STARTING)))
    assert manager.all() == []
    assert keeper.feed(status(camera(State.DEGRADED), reasons=("camera c: not there",)))
    assert manager.all() == ["READY=1", "WATCHDOG=1", "STATUS=degraded: camera c: not there"]
    assert keeper.feed(status(camera(frames=5), at=1.0))
    assert manager.all() == ["WATCHDOG=1", "STATUS=ok"]
    assert not any(keeper.feed(status(camera(frames=frames), at=1.0)) for frames in range(6, 60))
    assert manager.all() == []
    assert keeper.feed(status(camera(frames=60), at=2.0))
    assert manager.all() == ["WATCHDOG=1"]


def test_the_manager_is_told_no_oftener_than_it_asks(manager: NotifyManager) -> None:
    keeper = Keeper(Notifier({"NOTIFY_SOCKET": manager.address}), interval_s=3600)
    assert all(keeper.feed(status(camera(frames=n), at=float(n))) for n in range(100))
    assert manager.all().count("WATCHDOG=1") == 1


def test_the_socket_is_not_handed_to_a_child(manager: NotifyManager) -> None:
    program = (
        "import os, subprocess, sys; from device.watchdog import Notifier; n = Notifier(); n.ready(); "
        "sys.exit(subprocess.call(['sh', '-c', 'test -z \"$NOTIFY_SOCKET\"']))"
    )
    child = subprocess.run([sys.executable, "-c", program], env=manager.environment(1.0), timeout=300, check=False)
    assert child.returncode == 0
    assert manager.all() == ["READY=1"]
