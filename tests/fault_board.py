"""A board with a good release at work, and what must be true of it after any bad one was refused."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from device.releases.base import FakeService
from device.releases.installer import Asked, Installed, Installer
from device.releases.refusals import Refusal
from device.releases.store import Store
from device.releases.trial import Trial, golden_trial
from device.trust.base import AllowUnsigned, Verifier
from tests.bundles import write_colour_bundle
from tests.releases import WINDOW, installer, require_good, version_of


@dataclass(frozen=True, slots=True)
class FaultBoard:
    """A store with version 1.0.0 at work.

    Attributes:
        store: of its releases.
        service: counts how often it was started.
        good: a bundle of version 3.0.0.
    """

    store: Store
    service: FakeService
    good: Path

    def install(
        self, bundle: Path, trial: Trial = golden_trial, verifier: Verifier | None = None, again: bool = False
    ) -> Installed:
        """As ``edgegraft install`` does, the models tried for real."""
        return self.installer(trial, verifier).install(Asked(bundle, again=again, window=WINDOW))

    def installer(
        self, trial: Trial, verifier: Verifier | None = None, tell: Callable[[str], None] = lambda line: None
    ) -> Installer:
        """This board's own."""
        return Installer(self.store, self.service, verifier or AllowUnsigned(), trial, tell)

    def refused(
        self,
        bundle: Path,
        exit_code: int,
        trial: Trial = golden_trial,
        verifier: Verifier | None = None,
        mend: Callable[[], object] = lambda: None,
    ) -> str:
        """Install what must not be taken. Nothing is touched, and the good one is taken afterwards.

        Args:
            bundle, trial, verifier: see ``install``.
            exit_code: that it ends with.
            mend: what ailed the board, before the good one.

        Returns:
            The one line that is said.
        """
        before, starts = snapshot(self.store.root), self.service.restarts
        with pytest.raises(Refusal) as caught:
            self.install(bundle, trial, verifier)
        assert caught.value.exit_code == exit_code, caught.value
        assert snapshot(self.store.root) == before
        assert self.service.restarts == starts
        require_good(self.store, "1.0.0")
        message = str(caught.value)
        assert "\n" not in message
        if exit_code not in (17, 18):  # of those, the disk's, it is the very place
            assert str(self.store.staging) not in message, "that copy is gone when this is read"
        mend()
        self.take_good()
        return message

    def take_good(self) -> None:
        """The good one is taken and at work."""
        assert self.install(self.good).version == "3.0.0"
        require_good(self.store, "3.0.0")


def make_board(models: dict[str, bytes], folder: Path) -> FaultBoard:
    """One whose releases have a single TFLite variant, so that they are tried quickly."""
    bundle = write_colour_bundle(folder / "small.egb", {"tflite-float32": models["tflite-float32"]})
    old, good = (version_of(bundle, version, folder / f"{version}.egb") for version in ("1.0.0", "3.0.0"))
    store = Store(folder / "store")
    installer(store.root).install(Asked(old, window=WINDOW))
    return FaultBoard(store, FakeService(), good)


def moved(board: FaultBoard, place: Path, service: FakeService | None = None) -> FaultBoard:
    """The same board with its releases on another file system."""
    shutil.copytree(board.store.root, place / "store", symlinks=True)
    os.sync()
    return FaultBoard(Store(place / "store"), service or board.service, board.good)


def snapshot(root: Path) -> dict[str, str]:
    """Every path below with its content; the lock is left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and name != "lock":
            found[name] = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        elif path.is_dir():
            found[name] = "folder"
    return found
