"""A bundle tried on this board before anything is switched to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from device.bundle import Bundle
from device.choosing import TIME_LIMIT_S, choose_here
from device.engines import available, not_installed
from device.errors import EngineError
from device.releases.refusals import TrialFailed, Unsuitable


class Trial(Protocol):
    """Proves a bundle on this machine."""

    def __call__(self, bundle: Bundle, folder: Path, tell: Callable[[str], None]) -> None:
        """Run every variant's golden inputs and write what is to be kept into the folder.

        Raises:
            Unsuitable: nothing in it runs here.
            TrialFailed: it crashes, hangs, takes too much memory or answers wrongly.
        """


def golden_trial(bundle: Bundle, folder: Path, tell: Callable[[str], None], time_limit_s: float = TIME_LIMIT_S) -> None:
    """Every variant in a child process with limits of memory and time; the choice is kept in the folder."""
    engines = {variant.engine for variant in bundle.manifest.variants}
    if not any(available(engine) for engine in engines):
        missing = "; ".join(sorted(map(not_installed, engines)))
        raise Unsuitable(f"{bundle.path}: no variant can run, {missing}; what ran before goes on running")
    try:
        bundle.golden()
        choose_here(bundle, folder, tell, again=True, time_limit_s=time_limit_s)
    except EngineError as err:
        raise TrialFailed(f"{err}; nothing was switched, what ran before goes on running") from err


class FakeTrial:
    """Lets everything pass but the versions that it was told to refuse."""

    def __init__(self, refused: tuple[str, ...] = ()) -> None:
        self._refused = refused

    def __call__(self, bundle: Bundle, folder: Path, tell: Callable[[str], None]) -> None:
        if bundle.manifest.version in self._refused:
            raise TrialFailed(f"{bundle.path}: refused")
        (folder / "choices").mkdir(exist_ok=True)
        (folder / "choices" / "tried.txt").write_text("ok")
