"""What every start does first: whatever was cut short is undone or completed, so that ``current`` can be started."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from device.releases import durable
from device.releases.records import Step
from device.releases.store import Store
from device.releases.transaction import finish, sweep, undo


class Recovered(Enum):
    """What was found."""

    NOTHING = "nothing was under way"
    UNDONE = "a switch was cut short before it was confirmed, and was undone"
    COMPLETED = "a confirmed switch was completed"
    FELL_BACK = "the current release was damaged, and the previous one is current again"


def recover(store: Store) -> Recovered:
    """Resolve an interrupted installation. Runs under the store's lock, with no service needed.

    Raises:
        NoSpace, ReadOnly: the disk takes no writes; what ``current`` leads to can be started all the same.
        OSError: anything else that cannot be written.
    """
    with durable.refusing(str(store.root)):
        journal = store.journal()
        if journal is None:
            return _without_journal(store)
        if journal.step is Step.CONFIRMED:
            finish(store)
            return Recovered.COMPLETED
        undo(store)
        return Recovered.UNDONE


def _without_journal(store: Store) -> Recovered:
    damaged_journal = store.journal_file.is_file()
    if store.current() is None and store.previous() is not None:
        durable.point(store.current_link, Path("releases", store.previous_link.readlink().name))
        outcome = Recovered.FELL_BACK
    else:
        outcome = Recovered.NOTHING
    if damaged_journal:
        durable.remove(store.journal_file)
    if _untidy(store):
        sweep(store)
    return outcome


def _untidy(store: Store) -> bool:
    if store.staging.exists():
        return True
    kept = {link.readlink().name for link in (store.current_link, store.previous_link) if link.is_symlink()}
    return store.releases.is_dir() and any(folder.name not in kept for folder in store.releases.iterdir())
