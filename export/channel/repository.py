"""A channel's folder: TUF metadata and target files, for any server of static files.

Layout: ``N.root.json`` of every N, ``T.targets.json``, ``S.snapshot.json``, ``timestamp.json``, and under ``bundles/``
the files under names that begin with their sha256. No file but ``timestamp.json`` ever changes: it is replaced last,
so that a board sees the old state or the new one, whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from export.channel.errors import PublishError
from export.channel.keys import ChannelKeys

TIMESTAMP = "timestamp.json"
BUNDLES = "bundles"
# A board in the middle of a poll, or a CDN, may still ask for the one before.
_KEPT_VERSIONS = 3
_NUMBERED = re.compile(r"(\d+)\.(targets|snapshot)\.json")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long boards believe what is signed.

    Attributes:
        timestamp_days: after which a channel that nobody renews is refused.
        listing_days: of snapshot and targets; they are renewed when less than half of it is left.
    """

    timestamp_days: int = 30
    listing_days: int = 365


@dataclass(frozen=True, slots=True)
class State:
    """What a channel holds now.

    Attributes:
        timestamp, snapshot, targets: versions; 0 before the first.
        listed: target files by path.
        expires: of the listing; None where it must be written anew whatever else.
        disowned: whether there was a listing whose signatures do not hold any more.
    """

    timestamp: int = 0
    snapshot: int = 0
    targets: int = 0
    listed: Mapping[str, TargetFile] | None = None
    expires: datetime | None = None
    disowned: bool = False


class Repository:
    """The folder of a channel. One publishes at a time.

    Args:
        folder: made where it is missing.
        keys: see there.
        lifetimes: see there.
    """

    def __init__(self, folder: Path, keys: ChannelKeys, lifetimes: Lifetimes | None = None) -> None:
        self.folder = folder
        self._keys = keys
        self._lifetimes = lifetimes or Lifetimes()
        self._root: Root = Metadata[Root].from_bytes(keys.roots[-1]).signed

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from publishing at the same time.

        Raises:
            PublishError: somebody does.
        """
        (self.folder / BUNDLES).mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as err:
            raise PublishError(f"{self.folder}: somebody else publishes there now; try again") from err
        finally:
            os.close(handle)

    def state(self) -> State:
        """Read what is there. What is not signed by today's keys is not continued: it may be somebody else's.

        Raises:
            PublishError: it cannot be read, or belongs to other keys.
        """
        if not (self.folder / TIMESTAMP).exists():
            return State()
        self._require_same_root()
        try:
            timestamp = self._load(TIMESTAMP, Timestamp)
            snapshot_version = timestamp.signed.snapshot_meta.version
            snapshot = self._load(f"{snapshot_version}.snapshot.json", Snapshot)
            targets_version = snapshot.signed.meta["targets.json"].version
            targets = self._load(f"{targets_version}.targets.json", Targets)
        except (OSError, DeserializationError, RepositoryError, KeyError, AttributeError) as err:
            raise PublishError(
                f"{self.folder}: its metadata cannot be read ({err}); publish into a new folder"
            ) from err
        versions = (timestamp.signed.version, snapshot_version, targets_version)
        try:
            self._root.verify_delegate(Timestamp.type, timestamp.signed_bytes, timestamp.signatures)
            self._root.verify_delegate(Snapshot.type, snapshot.signed_bytes, snapshot.signatures)
            self._root.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
        except UnsignedMetadataError:
            return State(*versions, listed={}, disowned=True)
        return State(*versions, targets.signed.targets, min(snapshot.signed.expires, targets.signed.expires))

    def add(self, source: Path, path: str, custom: Mapping[str, Any]) -> TargetFile:
        """Take a file in, under a name that begins with its sha256. Nothing leads to it yet.

        Args:
            source: the file.
            path: of the target.
            custom: of the target.
        """
        target = TargetFile.from_file(path, str(source), ["sha256"])
        target.unrecognized_fields["custom"] = dict(custom)
        place = self.folder / target.get_prefixed_paths()[0]
        if not (place.exists() and place.stat().st_size == target.length):
            fresh = place.with_name(f".{place.name}.new")
            shutil.copyfile(source, fresh)
            _replace(fresh, place)
        return target

    def holds(self, target: TargetFile) -> bool:
        """Whether its file is there, in full."""
        place = self.folder / target.get_prefixed_paths()[0]
        return place.exists() and place.stat().st_size == target.length

    def commit(self, state: State, listed: Mapping[str, TargetFile] | None) -> None:
        """Let boards see it.

        Args:
            state: what was there before.
            listed: the new list; None renews the old one.
        """
        for number, root in enumerate(self._keys.roots, 1):
            self._write(f"{number}.root.json", root)
        snapshot = state.snapshot
        if listed is not None or self._listing_is_due(state):
            snapshot += 1
            content = state.listed or {} if listed is None else listed
            targets = Targets(state.targets + 1, expires=_in_days(self._lifetimes.listing_days), targets=dict(content))
            self._sign(f"{targets.version}.targets.json", Targets.type, targets)
            meta = {"targets.json": MetaFile(targets.version)}
            listing = Snapshot(snapshot, expires=_in_days(self._lifetimes.listing_days), meta=meta)
            self._sign(f"{snapshot}.snapshot.json", Snapshot.type, listing)
        expires = _in_days(self._lifetimes.timestamp_days)
        self._sign(
            TIMESTAMP, Timestamp.type, Timestamp(state.timestamp + 1, expires=expires, snapshot_meta=MetaFile(snapshot))
        )
        self._prune()

    def _listing_is_due(self, state: State) -> bool:
        return state.expires is None or state.expires < _in_days(self._lifetimes.listing_days // 2)

    def _require_same_root(self) -> None:
        first = self.folder / "1.root.json"
        if not first.exists() or first.read_bytes() != self._keys.roots[0]:
            raise PublishError(
                f"{self.folder}: this channel belongs to other keys; boards would refuse it. "
                "Give its own --keys, or publish into a new folder"
            )

    def _load(self, name: str, _: type[Any]) -> Any:
        return Metadata.from_bytes((self.folder / name).read_bytes())

    def _sign(self, name: str, role: str, signed: Any) -> None:
        metadata = Metadata(signed)
        self._keys.sign(role, metadata)
        self._write(name, metadata.to_bytes(JSONSerializer(compact=True)))

    def _write(self, name: str, data: bytes) -> None:
        place = self.folder / name
        if place.exists() and place.read_bytes() == data:
            return
        fresh = place.with_name(f".{name}.new")
        fresh.write_bytes(data)
        _replace(fresh, place)

    def _prune(self) -> None:
        """Remove what no board can be led to any more."""
        numbered = [(path, found) for path in self.folder.iterdir() if (found := _NUMBERED.fullmatch(path.name))]
        for role in (Targets.type, Snapshot.type):
            versions = sorted((int(found[1]), path) for path, found in numbered if found[2] == role)
            for _, path in versions[:-_KEPT_VERSIONS]:
                path.unlink()
        named: set[str] = set()
        for path in self.folder.glob("*.targets.json"):
            listed: Sequence[TargetFile] = list(self._load(path.name, Targets).signed.targets.values())
            named.update(target.get_prefixed_paths()[0] for target in listed)
        for path in (self.folder / BUNDLES).iterdir():
            if f"{BUNDLES}/{path.name}" not in named:
                path.unlink()


def _in_days(days: int) -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)


def _replace(fresh: Path, place: Path) -> None:
    fresh.chmod(0o644)
    for path, then in ((fresh, lambda: fresh.replace(place)), (place.parent, lambda: None)):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        then()
