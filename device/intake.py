"""Frames on their way from the cameras' threads to the one that classifies."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from device.cameras.base import Frame

# Deep enough that reader and classifier seldom wait for one another, shallow enough to cost no memory.
_FILE_DEPTH = 6


class _Lane:
    def __init__(self, live: bool) -> None:
        self.live = live
        self.frames: deque[Frame] = deque()
        self.dropped = 0
        self.ended = False
        self.error: BaseException | None = None


class Intake:
    """One lane per camera. Of a live one only the newest frame is kept, so that an answer is never about the past;
    of a file every frame is kept and its reader waits. Lanes are served in turn: a fast camera starves no slow one.

    Args:
        live: for each lane, whether only its newest frame matters.
    """

    def __init__(self, live: Sequence[bool]) -> None:
        self._lanes = [_Lane(each) for each in live]
        self._changed = threading.Condition()
        self._served = -1

    def put(self, lane: int, frame: Frame) -> bool:
        """Add a frame; False when the lane was ended and its reader should stop."""
        into = self._lanes[lane]
        with self._changed:
            if into.live:
                into.dropped += len(into.frames)
                into.frames.clear()
            else:
                self._wait_for_room(into)
            if into.ended:
                return False
            into.frames.append(frame)
            if len(into.frames) == 1:
                self._changed.notify_all()
            return True

    def get(self, timeout_s: float | None = None) -> tuple[int, Frame] | None:
        """Wait for the next frame and its lane; None when all lanes have ended, or at the time limit.

        Raises:
            whatever ended a lane, once all frames before it have been taken.
        """
        with self._changed:
            self._changed.wait_for(self._something, timeout_s)
            count = len(self._lanes)
            for lane in ((self._served + 1 + step) % count for step in range(count)):
                frames = self._lanes[lane].frames
                if frames:
                    self._served = lane
                    frame = frames.popleft()
                    if len(frames) == _FILE_DEPTH // 2:
                        self._changed.notify_all()
                    return lane, frame
            for each in self._lanes:
                if each.error is not None:
                    raise each.error
            return None

    def end(self, lane: int, error: BaseException | None = None) -> None:
        """No more frames will come; with the reason when that is a failure."""
        with self._changed:
            self._lanes[lane].ended = True
            self._lanes[lane].error = self._lanes[lane].error or error
            self._changed.notify_all()

    def close(self) -> None:
        """End all lanes and forget the frames that wait."""
        with self._changed:
            for lane in self._lanes:
                lane.ended = True
                lane.frames.clear()
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether no frame waits and none will come."""
        with self._changed:
            return all(lane.ended and not lane.frames for lane in self._lanes)

    def dropped(self, lane: int) -> int:
        """Frames passed over so far because newer ones had come."""
        return self._lanes[lane].dropped

    def waiting(self) -> bool:
        """Whether a frame waits to be classified."""
        with self._changed:
            return any(lane.frames for lane in self._lanes)

    def _wait_for_room(self, lane: _Lane) -> None:
        # Until there is room for several: to wake a thread for each frame costs as much as a tenth of a small model.
        if len(lane.frames) >= _FILE_DEPTH:
            self._changed.wait_for(lambda: len(lane.frames) <= _FILE_DEPTH // 2 or lane.ended)

    def _something(self) -> bool:
        failed = any(lane.error is not None for lane in self._lanes)
        return failed or any(lane.frames for lane in self._lanes) or all(lane.ended for lane in self._lanes)
