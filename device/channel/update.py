"""One poll: what does the channel offer this board, is it new, fetch it, install it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from device.bundle import open_bundle
from device.channel.address import Source
from device.channel.board_id import MACHINE_ID, board_id
from device.channel.client import ChannelClient, ChannelVerifier
from device.channel.limits import Limits
from device.channel.offer import Listed, file_for, release_for, version_key
from device.channel.report import Report, deliver
from device.choosing import kept_choice
from device.errors import EdgegraftError, SinkError
from device.releases.refusals import (
    Busy,
    Damaged,
    KnownBad,
    Older,
    Refusal,
    TrialFailed,
    Unhealthy,
    Unsuitable,
    Untrusted,
)
from device.releases.store import Store
from device.trust.base import Verifier
from device.trust.root import ROOT, require_current, trusted_root

# Of these the next poll would fetch the same bytes for the same end.
_FOR_GOOD = (Damaged, KnownBad, TrialFailed, Unhealthy, Unsuitable)


class Installer(Protocol):
    """Puts a bundle to work on this board, or leaves everything as it was."""

    def install(self, bundle: Path, verifier: Verifier) -> None:
        """Stage, verify, try, switch, watch, confirm.

        Raises:
            Refusal: it is not at work; what was before is.
        """


@dataclass(slots=True)
class FakeInstaller:
    """Implements ``Installer``: asks the verifier, switches ``current``, or raises what it was told to."""

    store: Path
    refusals: list[Refusal] = field(default_factory=list)
    installed: list[str] = field(default_factory=list)

    def install(self, bundle: Path, verifier: Verifier) -> None:
        from hashlib import sha256

        data = bundle.read_bytes()
        verifier.verify(bundle, sha256(data).hexdigest(), len(data))
        if self.refusals:
            raise self.refusals.pop(0)
        with open_bundle(bundle) as opened:
            about = opened.manifest
        release = self.store / "releases" / f"{about.name}-{about.version}"
        release.mkdir(parents=True, exist_ok=True)
        (release / "bundle.egb").write_bytes(data)
        fresh = self.store / ".current"
        fresh.symlink_to(release.relative_to(self.store))
        fresh.replace(self.store / "current")
        self.installed.append(",".join(variant.name for variant in about.variants))


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """How a board polls.

    Attributes:
        source: the channel.
        store: the unit's folder of releases; the channel's own things lie under ``channel`` in it.
        unit: of the service.
        states: folders where the choice among variants may be kept, the likeliest first.
        bundle: name of the bundle to follow; None for that of the release at work.
        rate: bytes a second at most; None for no limit.
        all_variants: fetch the whole bundle, so that the board chooses anew.
        again: try once more what was refused before.
        report: where the state is told, or None.
        machine_id: the file.
        limits: of transfers.
    """

    source: Source
    store: Path
    unit: str = "edgegraft"
    states: tuple[Path, ...] = ()
    bundle: str | None = None
    rate: int | None = None
    all_variants: bool = False
    again: bool = False
    report: str | None = None
    machine_id: Path = MACHINE_ID
    limits: Limits | None = None

    @property
    def folder(self) -> Path:
        """What is remembered of channels."""
        return self.store / "channel"


@dataclass(frozen=True, slots=True)
class Updated:
    """What came of a poll.

    Attributes:
        channel: its name.
        board: this board's id.
        name, before, version: of the bundle: what was at work, and what the channel offers this board; maybe empty.
        updated: whether the second took the place of the first.
        fetched_bytes: of the file.
    """

    channel: str
    board: str
    name: str
    before: str
    version: str
    updated: bool
    fetched_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _AtWork:
    name: str | None = None
    version: str = ""
    variant: str | None = None


def update(
    config: UpdateConfig,
    root: bytes,
    installer: Installer | None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda count: None,
) -> Updated:
    """Poll once.

    Args:
        root: the root metadata that this board was enrolled with.
        installer: of the board; None looks only.
        say: takes lines for a person.
        progress: called with the bytes that came.

    Raises:
        ChannelError, Refusal: nothing has changed on the board; the exit code tells why.
    """
    with _alone(config.folder):
        board = board_id(config.folder, config.machine_id)
        try:
            with ChannelClient(config.source, config.folder, root, config.rate, config.limits) as client:
                updated = _poll(config, client, board, installer, say, progress)
        except Refusal as err:
            _tell(config, board, say, err)
            raise
        if installer is not None:
            _tell(config, board, say)
        return updated


def _poll(
    config: UpdateConfig,
    client: ChannelClient,
    board: str,
    installer: Installer | None,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> Updated:
    listed = client.refresh()
    _follow(config, client)
    at_work = _at_work(config)
    release = release_for(board, listed, config.bundle or at_work.name)
    _require_not_older(config.source.name, at_work, listed)
    name = at_work.name or (release[0].offer.name if release else "")
    version = release[0].offer.version if release else ""
    same = at_work.name == name and (not version or version_key(version) <= version_key(at_work.version or "0"))
    if same or not release or installer is None:
        return Updated(config.source.name, board, name, at_work.version, version, False)
    mark = Store(config.store).high_water().get(name)
    if mark and version_key(version) < version_key(mark):
        raise Older(
            f"{config.source.name}: offers {name} {version}, and this board has had {mark}; it does not go back by "
            f"itself: edgegraft install B.egb --downgrade-to {version}"
        )
    wanted = file_for(release, None if config.all_variants else at_work.variant)
    fetched = _install(config, client, wanted, installer, say, progress)
    if fetched is None:  # the variant that was right so far is not, in this release: let the board choose anew
        wanted = file_for(release, None)
        say(f"{wanted.offer.name} {version}: '{at_work.variant}' does not do here; fetching all variants")
        fetched = _install(config, client, wanted, installer, say, progress) or 0
    return Updated(config.source.name, board, name, at_work.version, version, True, fetched)


def _follow(config: UpdateConfig, client: ChannelClient) -> None:
    """Keys that the channel has replaced count no more for signatures beside bundles either."""
    trust = config.store / "trust"
    if (trust / ROOT).is_file():
        trusted_root(trust, client.roots)
        require_current(client.expires, f"{config.source.name}: its metadata", trust)


def _install(
    config: UpdateConfig,
    client: ChannelClient,
    listed: Listed,
    installer: Installer,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> int | None:
    """Fetch a file and install it; its size, or None where a slim bundle's variant fails its trial."""
    offer, memory = listed.offer, _Refused(config.folder / "refused.json")
    if not config.again and (bad := Store(config.store).bad().releases.get(offer.sha256)) and bad.bad:
        memory.add(offer.sha256, bad.reason)  # rolled back by hand, or put here otherwise
    if not config.again and (reason := memory.of(offer.sha256)):
        if offer.variant is not None and reason.startswith("trial: "):
            return None
        raise KnownBad(f"{offer.name} {offer.version} was refused here before ({reason}); --again tries it once more")
    say(f"{offer.name} {offer.version}: fetching {listed.target.length / 1e6:.1f} MB from {config.source.name}")
    bundle = client.fetch(listed, progress)
    try:
        installer.install(bundle, ChannelVerifier(offer, config.source.name))
    except _FOR_GOOD as err:
        slim_failed = offer.variant is not None and isinstance(err, (TrialFailed, Unsuitable))
        memory.add(offer.sha256, f"trial: {err}" if slim_failed else str(err))
        client.forget()
        if slim_failed:
            return None
        raise
    client.forget()
    return listed.target.length


class _Refused:
    """Bundles that were refused for good, by sha256, the latest dozen."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, sha256: str) -> str:
        return self._all().get(sha256, "")

    def add(self, sha256: str, reason: str) -> None:
        known = {**self._all(), sha256: reason}
        fresh = self._path.with_name(f".{self._path.name}.new")
        fresh.write_bytes(msgspec.json.encode(dict(list(known.items())[-12:])))
        fresh.replace(self._path)

    def _all(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return {}


def _at_work(config: UpdateConfig) -> _AtWork:
    path = config.store / "current" / "bundle.egb"
    try:
        with open_bundle(path) as bundle:
            manifest = bundle.manifest
    except EdgegraftError:
        return _AtWork()
    for state in (path.parent, *config.states):
        if chosen := kept_choice(manifest, state):
            return _AtWork(manifest.name, manifest.version, chosen.variant)
    return _AtWork(manifest.name, manifest.version)


def _require_not_older(channel: str, at_work: _AtWork, listed: list[Listed]) -> None:
    versions = [one.offer.version for one in listed if one.offer.name == at_work.name]
    newest = max(versions, key=version_key, default="")
    if newest and version_key(newest) < version_key(at_work.version):
        raise Older(
            f"{channel}: offers {at_work.name} {newest} at most, {at_work.version} is at work; a board does not "
            f"go back by itself: edgegraft install B.egb --downgrade-to {newest}"
        )


def _tell(config: UpdateConfig, board: str, say: Callable[[str], None], error: EdgegraftError | None = None) -> None:
    if config.report is None:
        return
    at_work = _at_work(config)
    report = Report(
        board=board,
        unit=config.unit,
        name=at_work.name or "",
        version=at_work.version,
        result="refused" if error else "current",
        exit_code=error.exit_code if error else 0,
        reason=str(error) if error else "",
    )
    try:
        deliver(report, config.report, config.folder)
    except SinkError as err:
        say(str(err))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as err:
        raise Busy(f"{folder}: another update is at work; try again when it is done") from err
    finally:
        os.close(handle)


def enrolled_root(store: Path) -> bytes:
    """The root metadata that this board was enrolled with.

    Raises:
        Untrusted: it was not.
    """
    path = store / "trust" / ROOT
    try:
        return path.read_bytes()
    except OSError as err:
        raise Untrusted(f"{path}: this board trusts nobody yet; enrol it: edgegraft trust enroll ROOT.json") from err
