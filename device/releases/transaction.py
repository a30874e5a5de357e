"""One switch from a release to another: begun, confirmed, or rolled back.

The journal says how far it has come. It is written before each step, so that whoever starts after a power cut knows
what to undo and what to complete; see ``device.releases.recover``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from device.errors import DeviceError
from device.releases import durable
from device.releases.base import HealthWindow, Service, Verdict
from device.releases.records import BadRelease, HighWater, Journal, Step, save
from device.releases.refusals import NoWayBack, Unhealthy
from device.releases.store import Release, Store, raise_to

_INTERRUPTIONS = 3


def switch(
    store: Store,
    journal: Journal,
    service: Service,
    window: HealthWindow,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Switch to ``journal.to``, watch it, and keep it or go back.

    Raises:
        Unhealthy: it did not get healthy, and ``journal.back`` is at work again.
        NoWayBack: neither is healthy, or there is none to go back to; in that case the service is stopped.
    """
    try:
        verdict = _try_it(store, journal, service, window, tell)
    except OSError as err:
        if not _decided(store):
            _retreat(store, journal, service, err)
            raise
        verdict = Verdict(healthy=True)
    if not verdict.healthy:
        _return(store, journal, service, window, verdict)
    tell(f"{journal.to} is confirmed")
    try:
        finish(store)
    except OSError as err:
        # The journal says that it is at work for good; whatever is left to be done, the next start does.
        tell(f"{err.filename or store.root}: {err.strerror}; older releases are tidied up at the next start")


def finish(store: Store) -> None:
    """Complete a switch that was confirmed. Run again it changes nothing."""
    journal = store.journal()
    assert journal is not None
    current = store.release(journal.to)
    if current is not None:
        _raise_mark(store, current)
    if journal.by_hand:
        left = store.release(journal.back or "")
        if left is not None:
            mark_bad(store, left, journal.reason)
        durable.remove(store.previous_link)
    elif journal.back is not None:
        durable.point(store.previous_link, Path("releases", journal.back))
    durable.remove(store.journal_file)
    sweep(store)


def undo(store: Store, interrupted: bool = True) -> None:
    """Complete a roll-back: what was switched to is bad, the release before is current. Run again it changes nothing.

    Args:
        store: with a journal.
        interrupted: a switch that was merely cut short counts, and what it led to is bad after several times.
    """
    journal = store.journal()
    assert journal is not None
    failed = store.release(journal.to)
    # First of all, for it takes the least room: on a full disk what follows may have to wait for the next start.
    if journal.back is None:
        durable.remove(store.current_link)
    else:
        durable.point(store.current_link, Path("releases", journal.back))
    if failed is not None and journal.step is Step.ROLLING_BACK:
        mark_bad(store, failed, journal.reason)
    elif failed is not None and interrupted:
        _count_interruption(store, failed)
    if journal.by_hand:
        durable.remove(store.previous_link)  # it led to the one that failed
    durable.remove(store.journal_file)
    sweep(store)


def sweep(store: Store) -> None:
    """Remove what is neither current nor previous, and what was being prepared."""
    durable.remove(store.staging)
    kept = {link.readlink().name for link in (store.current_link, store.previous_link) if link.is_symlink()}
    if store.releases.is_dir():
        for folder in sorted(store.releases.iterdir()):
            if folder.name not in kept:
                durable.remove(folder)


def mark_bad(store: Store, release: Release, reason: str) -> None:
    """Refuse this bundle from now on."""
    _enter(store, release, BadRelease(release.record.name, release.record.version, reason, time.time()))


def forget_bad(store: Store, sha256: str) -> None:
    """Give a bundle another chance."""
    bad = store.bad()
    if sha256 in bad.releases:
        save(store.bad_file, msgspec.structs.replace(bad, releases=_without(bad.releases, sha256)))


def replace_step(journal: Journal, step: Step, reason: str = "") -> Journal:
    """The same switch, further on."""
    return msgspec.structs.replace(journal, step=step, reason=reason)


def _try_it(
    store: Store, journal: Journal, service: Service, window: HealthWindow, tell: Callable[[str], None]
) -> Verdict:
    """Switch and watch; the journal then says what is to be completed."""
    save(store.journal_file, journal)
    durable.point(store.current_link, Path("releases", journal.to))
    tell(f"switched to {journal.to}; watching it")
    verdict = _started(service, journal.to, window)
    if verdict.healthy:
        save(store.journal_file, replace_step(journal, Step.CONFIRMED, journal.reason))
        return verdict
    tell(f"{journal.to} is not healthy: {verdict.reason}; rolling back")
    save(store.journal_file, replace_step(journal, Step.ROLLING_BACK, verdict.reason))
    undo(store)
    return verdict


def _decided(store: Store) -> bool:
    journal = store.journal()
    return journal is not None and journal.step is Step.CONFIRMED


def _retreat(store: Store, journal: Journal, service: Service, err: OSError) -> None:
    """The disk takes no more writes: go back as far as that can be done without any.

    Raises:
        NoSpace, ReadOnly: it cannot; the next start does it.
    """
    if store.journal() is None:  # not even begun
        return
    with suppress(OSError):
        undo(store, interrupted=False)
    current = store.current()
    if current is not None and current.folder.name == journal.to:
        with durable.refusing(
            str(store.root), f"{journal.to} is at work unconfirmed; the next start goes back to {journal.back}"
        ):
            raise err
    with suppress(DeviceError):
        if current is None:
            service.stop()
        else:
            service.restart()


def _return(store: Store, journal: Journal, service: Service, window: HealthWindow, verdict: Verdict) -> None:
    if journal.back is None:
        with suppress(DeviceError):
            service.stop()
        raise NoWayBack(f"{journal.to}: {verdict.reason}; it was the first release here, so the service is stopped")
    before = _started(service, journal.back, window)
    if before.healthy:
        raise Unhealthy(f"{journal.to}: {verdict.reason}; {journal.back} is at work again")
    # Going to and fro between two bad ones helps nobody. But it has worked before, and may again: a board that is busy
    # or hot answers late, and one that crashes again and again is given up by systemd.
    raise NoWayBack(
        f"{journal.to}: {verdict.reason}; and {journal.back}, to which this board went back: {before.reason}; it is "
        "left at work: look at its log, the camera and the power supply"
    )


def _started(service: Service, release: str, window: HealthWindow) -> Verdict:
    try:
        service.restart()
        return service.watch(release, window)
    except DeviceError as err:
        return Verdict(healthy=False, reason=str(err))


def _raise_mark(store: Store, release: Release) -> None:
    highest = store.high_water()
    raise_to(highest, release.record.name, release.record.version)
    for path in store.marks:
        durable.make_folder(path.parent)
        save(path, HighWater(versions=highest))


def _count_interruption(store: Store, release: Release) -> None:
    known = store.bad().releases.get(release.record.sha256)
    count = (known.interrupted if known else 0) + 1
    reason = f"its installation was cut short {count} times"
    record = BadRelease(
        release.record.name, release.record.version, reason, time.time(), interrupted=count, bad=count >= _INTERRUPTIONS
    )
    _enter(store, release, record)


def _enter(store: Store, release: Release, record: BadRelease) -> None:
    bad = store.bad()
    releases = {**bad.releases, release.record.sha256: record}
    save(store.bad_file, msgspec.structs.replace(bad, releases=releases))


def _without(releases: dict[str, BadRelease], sha256: str) -> dict[str, BadRelease]:
    return {key: value for key, value in releases.items() if key != sha256}
