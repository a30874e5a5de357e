"""A board with a good release at work, and what must be true of it after any bad one was refused."""

from __future__ import annotations

import hashlib
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
        at_work = Installer(self.store, self.service, verifier or AllowUnsigned(), trial)
        return at_work.install(Asked(bundle, again=again, window=WINDOW))

    def refused(
        self, bundle: Path, exit_code: int, trial: Trial = golden_trial, verifier: Verifier | None = None
    ) -> str:
        """Install what must not be taken. Nothing is touched, and the good one is taken afterwards.

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
        assert str(self.store.staging) not in message  # of no use to whoever reads it: it is gone
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
