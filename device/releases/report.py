"""What can be said of a board's releases, for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from device.releases.records import BadRelease, Journal, ReleaseRecord
from device.releases.store import Store
from device.service_manager import ServiceStatus


class BoardReport(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-ready. ``high_water`` is the highest version that was ever confirmed, by the bundle's name."""

    healthy: bool
    service: ServiceStatus
    current: ReleaseRecord | None
    previous: ReleaseRecord | None
    under_way: Journal | None
    bad: tuple[BadRelease, ...]
    high_water: dict[str, str]


def board_report(store: Store, service: ServiceStatus) -> BoardReport:
    """Look at a store and its service; nothing is changed."""
    current, previous, journal = store.current(), store.previous(), store.journal()
    return BoardReport(
        healthy=service.active == "active" and current is not None and journal is None,
        service=service,
        current=current.record if current else None,
        previous=previous.record if previous else None,
        under_way=journal,
        bad=tuple(one for one in store.bad().releases.values() if one.bad),
        high_water=store.high_water(),
    )


def sentences(report: BoardReport) -> Iterator[str]:
    """A screen of it, the most important first."""
    service = report.service
    if report.current is None:
        yield f"{service.unit}: no release; edgegraft service install B.egb --camera 0"
    else:
        current = report.current
        yield f"{service.unit}: {current.name} {current.version}, since {_date(current.installed_at)}"
        if not current.signed:
            yield "!! UNSIGNED: nobody vouches for what runs here; sign the bundle and install it again"
    if service.installed:
        yield f"service: {service.active} ({service.detail})" + (f", {service.text}" if service.text else "")
    else:
        yield "service: not installed"
    if service.restarts:
        yield f"started again {service.restarts} times by systemd"
    if report.under_way is not None:
        yield f"under way: {report.under_way.step.value} to {report.under_way.to}"
    if report.previous is not None:
        yield f"previous: {report.previous.name} {report.previous.version} ('edgegraft rollback' leads there)"
    for bad in report.bad:
        yield f"bad: {bad.name} {bad.version}, {_date(bad.at)}: {bad.reason}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
