"""Row 34: the release to which a board goes back is bad too. It stops there, safely, and does not go to and fro."""

from __future__ import annotations

import pytest

from device.releases.base import FakeService, HealthWindow, Verdict
from device.releases.installer import Asked, Installer
from device.releases.recover import Recovered, recover
from device.releases.refusals import NoWayBack
from device.releases.trial import golden_trial
from device.trust.base import AllowUnsigned
from tests.fault_board import FaultBoard, snapshot
from tests.releases import BROKEN, require_good

WINDOW = HealthWindow(1.0, 0.0)


def installer(board: FaultBoard, service: FakeService) -> Installer:
    return Installer(board.store, service, AllowUnsigned(), golden_trial)


def test_it_stops_with_the_old_one_in_place(fault_board: FaultBoard) -> None:
    camera = Verdict(healthy=False, reason="no camera answers")
    service = FakeService((BROKEN, camera))
    with pytest.raises(NoWayBack) as caught:
        installer(fault_board, service).install(Asked(fault_board.good, window=WINDOW))
    assert caught.value.exit_code == 22
    assert str(caught.value) == (
        "colours-3.0.0: no answer came; and colours-1.0.0, to which this board went back: no camera answers; it is "
        "left at work: look at its log, the camera and the power supply"
    )
    assert (service.restarts, service.stopped) == (2, False)
    require_good(fault_board.store, "1.0.0")


def test_no_start_and_no_roll_back_goes_to_and_fro(fault_board: FaultBoard) -> None:
    service = FakeService((BROKEN, BROKEN))
    with pytest.raises(NoWayBack):
        installer(fault_board, service).install(Asked(fault_board.good, window=WINDOW))
    before = snapshot(fault_board.store.root)
    for _ in range(3):
        assert recover(fault_board.store) is Recovered.NOTHING
        with pytest.raises(NoWayBack, match="no release before this one"):
            installer(fault_board, service).rollback(WINDOW)
    assert service.restarts == 2
    assert snapshot(fault_board.store.root) == before
    # Its power supply mended, the new one is given another chance by its name.
    done = installer(fault_board, service).install(Asked(fault_board.good, again=True, window=WINDOW))
    assert done.version == "3.0.0"
    require_good(fault_board.store, "3.0.0")


def test_by_hand_too(fault_board: FaultBoard) -> None:
    fault_board.take_good()
    service = FakeService((BROKEN, BROKEN))
    with pytest.raises(NoWayBack, match=r"colours-1\.0\.0: no answer came; and colours-3\.0\.0, to which"):
        installer(fault_board, service).rollback(WINDOW)
    assert (service.restarts, service.stopped) == (2, False)
    require_good(fault_board.store, "3.0.0")
    assert fault_board.store.previous() is None
