"""Where releases lie on a board, and what can be said about them without changing anything."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device.releases.durable import make_folder, refusing
from device.releases.records import BadList, HighWater, Journal, ReleaseRecord, Step, load, ordered
from device.releases.refusals import Busy

BUNDLE = "bundle.egb"
SIGNATURE = "bundle.egb.sig"
RECORD = "release.json"


@dataclass(frozen=True, slots=True)
class Release:
    """One that was installed: its folder and what was written down about it."""

    folder: Path
    record: ReleaseRecord

    @property
    def bundle(self) -> Path:
        """The ``.egb`` file."""
        return self.folder / BUNDLE


@dataclass(frozen=True, slots=True)
class Store:
    """A board's releases under one folder; ``current`` leads to the one at work."""

    root: Path

    @property
    def releases(self) -> Path:
        """A folder for each."""
        return self.root / "releases"

    @property
    def staging(self) -> Path:
        """What is being prepared."""
        return self.root / "staging"

    @property
    def current_link(self) -> Path:
        """Leads to what runs."""
        return self.root / "current"

    @property
    def previous_link(self) -> Path:
        """Leads to what ran before."""
        return self.root / "previous"

    @property
    def journal_file(self) -> Path:
        """There while a switch is under way."""
        return self.root / "journal.json"

    @property
    def service_before_file(self) -> Path:
        """There while a service is replaced; for root only, it may hold secrets."""
        return self.root / "service_before.json"

    @property
    def bad_file(self) -> Path:
        """What did not work here."""
        return self.root / "bad.json"

    @property
    def trust(self) -> Path:
        """What this board believes."""
        return self.root / "trust"

    @property
    def marks(self) -> tuple[Path, Path]:
        """Two copies in two folders: whoever loses one has the other."""
        return self.root / "high_water.json", self.root / "marks" / "high_water.json"

    def current(self) -> Release | None:
        """At work, or to be started next."""
        return self._at(self.current_link)

    def previous(self) -> Release | None:
        """To roll back to."""
        return self._at(self.previous_link)

    def release(self, folder_name: str) -> Release | None:
        """By the name of its folder; None where it is not there or its record is damaged."""
        folder = self.releases / folder_name
        record = load(folder / RECORD, ReleaseRecord)
        return None if record is None or not (folder / BUNDLE).is_file() else Release(folder, record)

    def journal(self) -> Journal | None:
        """What is under way."""
        return load(self.journal_file, Journal)

    def bad(self) -> BadList:
        """What did not work here."""
        return load(self.bad_file, BadList) or BadList()

    def high_water(self) -> dict[str, str]:
        """The highest version that was confirmed here, by the bundle's name.

        The highest of what both copies and the releases say: an older or a zeroed copy lowers nothing.
        """
        highest: dict[str, str] = {}
        for mark in filter(None, (load(path, HighWater) for path in self.marks)):
            for name, version in mark.versions.items():
                raise_to(highest, name, version)
        journal = self.journal()
        unconfirmed = journal.to if journal is not None and journal.step is not Step.CONFIRMED else ""
        for release in filter(None, (self.current(), self.previous())):
            if release.folder.name == unconfirmed:
                continue
            raise_to(highest, release.record.name, release.record.version)
        return highest

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone; released also when this process is killed.

        Raises:
            Busy: another installation is at work.
        """
        with refusing(str(self.root)):
            make_folder(self.root)
            handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise Busy(f"{self.root}: another installation is at work; wait for its end") from err
            yield
        finally:
            os.close(handle)

    def _at(self, link: Path) -> Release | None:
        return self.release(link.readlink().name) if link.is_symlink() else None


def raise_to(highest: dict[str, str], name: str, version: str) -> None:
    """Enter a version unless a higher one stands there."""
    if name not in highest or ordered(version) > ordered(highest[name]):
        highest[name] = version
