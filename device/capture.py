"""Collecting photos from a camera, whoever says when: a person at a terminal or in a browser, or the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from device.cameras.base import Frame, FrameSource
from device.cameras.spec import CameraSpec
from device.closing import Closing
from device.collection import Collection, InAnotherClassError, check_label
from device.errors import BadFrame, CameraError, DeviceError

# What is older is no picture of now.
_STALE_S = 3.0
_BACK_OFF_S, _MOST_BACK_OFF_S = 1.0, 10.0
_JOIN_TIMEOUT_S = 5.0
# A film goes by at about its own pace.
_FILM_PERIOD_S = 1 / 25
MOST_BURST = 1000


class NoPicture(DeviceError):  # noqa: N818 - not the end: there will be one when the camera is back
    """There is no picture of now that could be saved."""


class CaptureSession:
    """The newest picture of a camera, and a collection into which it can be saved. Thread-safe.

    Args:
        collection: takes the pictures.
        classes: that can be chosen; at least one.

    Raises:
        DeviceError: a class cannot name a folder, is there twice, or there is none.
    """

    def __init__(self, collection: Collection, classes: Sequence[str]) -> None:
        self.collection = collection
        self.classes = tuple(check_label(label) for label in classes)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise DeviceError(f"classes are {', '.join(self.classes) or 'none'}; expected one or more, each once")
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._problem = ""
        self._ended = False
        self._saved = dict.fromkeys(self.classes, 0)
        self._duplicates = 0
        self._bursting = threading.Lock()
        self._stopped = threading.Event()

    def frame(self) -> Frame | None:
        """The newest picture; None before the first."""
        with self._changed:
            return self._frame

    @property
    def problem(self) -> str:
        """What is wrong with the camera, empty where nothing is."""
        with self._changed:
            return self._problem

    @property
    def saved(self) -> dict[str, int]:
        """Pictures by class that this session saved."""
        with self._changed:
            return dict(self._saved)

    @property
    def duplicates(self) -> int:
        """Pictures that were not saved because they hardly differed from one of the last."""
        with self._changed:
            return self._duplicates

    def counts(self) -> dict[str, int]:
        """Photos by class that lie in the folder, whoever put them there, in the order of the classes.

        Raises:
            DeviceError: the folder cannot be read.
        """
        found = self.collection.counts()
        return {label: found.get(label, 0) for label in self.classes}

    def save(self, label: str) -> Path | None:
        """Save the newest picture under a class; None when it is a near-duplicate.

        Raises:
            NoPicture: the camera gives none now.
            DeviceError: no such class, or it cannot be written.
        """
        frame = self._fresh(label)
        path = self.collection.save(frame, label)
        with self._changed:
            if path is None:
                self._duplicates += 1
            else:
                self._saved[label] += 1
        return path

    def burst(self, label: str, n: int, interval_s: float) -> int:
        """Save so many pictures one after another; returns at the end, or earlier when the session is stopped.

        Returns:
            how many were saved: near-duplicates are passed over and not made up for.

        Raises:
            DeviceError: as ``save``, a number is out of its range, or another burst has not ended.
        """
        if not 1 <= n <= MOST_BURST or not 0 <= interval_s <= 3600:
            raise DeviceError(
                f"a burst of {n} every {interval_s:g} s was asked for; expected 1 to {MOST_BURST}, 0 to 3600 s"
            )
        if not self._bursting.acquire(blocking=False):
            raise DeviceError("a burst has not ended yet; wait for it")
        try:
            saved, last = 0, self.frame()  # which may have been saved already
            for number in range(n):
                if number and self._stopped.wait(interval_s):
                    break
                last = self.wait_for_frame(last, _STALE_S)
                saved += self.save(label) is not None
            return saved
        finally:
            self._bursting.release()

    def wait_for_frame(self, after: Frame | None, timeout_s: float) -> Frame | None:
        """The newest picture once it is another than ``after``; at the time limit or the end, whatever is newest."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not after or self.over, timeout_s)
            return self._frame

    def put(self, frame: Frame) -> None:
        """Take the camera's next picture."""
        with self._changed:
            self._frame, self._problem = frame, ""
            self._changed.notify_all()

    def fail(self, problem: str) -> None:
        """Take notice of what is wrong with the camera, until its next picture."""
        with self._changed:
            self._problem = problem

    def end(self) -> None:
        """Take notice that no more pictures will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Make everything that waits return."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether it was stopped, or its film has ended."""
        return self._ended or self._stopped.is_set()

    def wait_until(self, moment: float) -> None:
        """Wait until this moment of ``time.monotonic``, or until the session is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.over, max(0.0, moment - time.monotonic()))

    def _fresh(self, label: str) -> Frame:
        if label not in self.classes:
            raise DeviceError(f"there is no class {label!r}; expected one of {', '.join(self.classes)}")
        with self._changed:
            frame, problem = self._frame, self._problem
        if frame is None or time.monotonic() - frame.captured_monotonic > _STALE_S:
            raise NoPicture(f"nothing to save: {problem or 'the camera gives no picture now'}")
        return frame


class CameraReader(Closing):
    """Keeps a session's picture new, from a thread of its own; a live camera that fails is opened again.

    Args:
        camera: to be opened.
        session: takes the pictures.
        tell: takes a line when the camera begins to fail, and when it is back.
    """

    def __init__(
        self, camera: CameraSpec, session: CaptureSession, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        self._camera = camera
        self._session = session
        self._tell = tell
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._source: FrameSource | None = None
        self._delivering = self._failing = False
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, which closes the camera."""
        self._stopping.set()
        with self._lock:
            if self._source is not None:
                self._source.interrupt()
        self._thread.join(_JOIN_TIMEOUT_S)

    def _run(self) -> None:
        wait = _BACK_OFF_S
        while not self._stopping.is_set():
            self._delivering = False
            try:
                self._read_to_end()
                break
            except CameraError as err:
                self._note(str(err))
                if not self._camera.live:
                    break
                wait = _BACK_OFF_S if self._delivering else min(2 * wait, _MOST_BACK_OFF_S)
                self._stopping.wait(wait)
        self._session.end()

    def _read_to_end(self) -> None:
        with self._camera.open() as source:
            with self._lock:
                self._source = source
            try:
                while not self._stopping.is_set() and self._read(source):
                    if not source.live:
                        self._stopping.wait(_FILM_PERIOD_S)
            finally:
                with self._lock:
                    self._source = None

    def _read(self, source: FrameSource) -> bool:
        try:
            frame = source.read()
        except BadFrame:
            return True
        if frame is None:
            return False
        self._session.put(frame)
        self._delivering = True
        if self._failing:
            self._failing = False
            self._tell(f"camera {self._camera.name}: pictures come again")
        return True

    def _note(self, problem: str) -> None:
        self._session.fail(problem)
        if not self._failing:
            self._failing = True
            self._tell(f"camera {self._camera.name}: {problem}{'; trying again' if self._camera.live else ''}")


def capture_timed(
    session: CaptureSession, label: str, every_s: float, count: int | None, tell: Callable[[str], None]
) -> None:
    """Save a picture every so many seconds until there are enough, or the session is over.

    Args:
        session: whose camera is being read.
        label: the class.
        every_s: seconds from one try to the next.
        count: pictures to save; near-duplicates do not count. None goes on until the session is stopped.
        tell: takes a line for every picture, and for what is wrong whenever that changes.

    Raises:
        DeviceError: pictures cannot be written, or the film ended because its file failed.
    """
    due, told = time.monotonic(), ""
    session.wait_for_frame(None, _STALE_S)
    while not session.over and (count is None or session.saved[label] < count):
        try:
            path = session.save(label)
        except (NoPicture, InAnotherClassError) as err:
            path, problem = None, str(err)
        else:
            problem = "" if path is not None else "nothing new to see: near-duplicates are not saved"
        if path is not None:
            tell(f"{session.saved[label]}: {path}")
        elif problem != told:
            tell(problem)
        told = problem
        due = max(due + every_s, time.monotonic())
        session.wait_until(due)
    if session.problem and not session.saved[label]:
        raise DeviceError(session.problem)
