"""From a channel's file to the board's installer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from device.releases.base import HealthWindow, Service
from device.releases.installer import Asked, Installer
from device.releases.store import Store
from device.releases.trial import Trial, golden_trial
from device.trust.base import Verifier


@dataclass(frozen=True, slots=True)
class BoardInstaller:
    """Implements ``device.channel.update.Installer`` by that of the board.

    Attributes:
        store: its releases.
        service: runs them.
        again: also what was rolled back here.
        tell: takes lines on the way.
        trial, window: see ``device.releases.installer``.
    """

    store: Store
    service: Service
    again: bool = False
    tell: Callable[[str], None] = lambda line: None
    trial: Trial = golden_trial
    window: HealthWindow = field(default_factory=HealthWindow)

    def install(self, bundle: Path, verifier: Verifier) -> None:
        """See ``device.channel.update.Installer``."""
        asked = Asked(bundle, again=self.again, window=self.window)
        Installer(self.store, self.service, verifier, self.trial, self.tell).install(asked)
