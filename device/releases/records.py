"""What is written down about releases: small JSON files, each with a checksum, strictly read."""

from __future__ import annotations

import hashlib
import stat
from enum import Enum
from pathlib import Path
from typing import TypeVar

import msgspec

from device.contract import BundleName, Contract, FileName, SemanticVersion, Sha256
from device.releases.durable import write_file

_LIMIT_BYTES = 256 * 1024
_Record = TypeVar("_Record", bound=Contract)


class ReleaseRecord(Contract, frozen=True):
    """A release as it was installed. ``installed_at`` is seconds since 1970."""

    name: BundleName
    version: SemanticVersion
    sha256: Sha256
    signed: bool
    installed_at: float


class Step(Enum):
    """How far a switch has come. SWITCHING is undone at the next start, CONFIRMED and ROLLING_BACK are completed."""

    SWITCHING = "switching"
    CONFIRMED = "confirmed"
    ROLLING_BACK = "rolling-back"


class Journal(Contract, frozen=True):
    """A switch that is under way.

    Attributes:
        step: see there.
        to: the release that is switched to, by the name of its folder.
        back: the one at work before, or None at the first installation.
        by_hand: it was asked for by ``rollback``: ``back`` is left for good.
        reason: why it is rolled back, or by hand why ``back`` is left.
    """

    step: Step
    to: FileName
    back: FileName | None
    by_hand: bool = False
    reason: str = ""


class BadRelease(Contract, frozen=True, kw_only=False):
    """A bundle that did not work here.

    Attributes:
        name, version: of the bundle.
        reason: what was seen.
        at: seconds since 1970.
        interrupted: how often its switch was cut short; too often and it counts as bad.
        bad: refused from now on.
    """

    name: str
    version: str
    reason: str
    at: float
    interrupted: int = 0
    bad: bool = True


class BadList(Contract, frozen=True):
    """By sha256 of the bundle."""

    releases: dict[Sha256, BadRelease] = msgspec.field(default_factory=dict)


class HighWater(Contract, frozen=True):
    """The highest version that was ever confirmed, by the bundle's name."""

    versions: dict[BundleName, SemanticVersion] = msgspec.field(default_factory=dict)


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: str
    content: msgspec.Raw


def save(path: Path, record: Contract, mode: int = 0o644) -> None:
    """Write a record, durably."""
    content = msgspec.json.encode(record)
    sealed = _Sealed(hashlib.sha256(content).hexdigest(), msgspec.Raw(content))
    write_file(path, msgspec.json.encode(sealed), mode)


def load(path: Path, kind: type[_Record]) -> _Record | None:
    """The record; None where there is none, or what lies there is damaged."""
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LIMIT_BYTES:
            return None
        sealed = msgspec.json.decode(path.read_bytes(), type=_Sealed)
        content = bytes(sealed.content)
        if hashlib.sha256(content).hexdigest() != sealed.sha256:
            return None
        return msgspec.json.decode(content, type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def ordered(version: str) -> tuple[int, ...]:
    """A semantic version, fit to be compared."""
    return tuple(int(part) for part in version.split("."))
