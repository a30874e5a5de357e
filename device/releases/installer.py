"""A bundle becomes the release at work, or nothing changes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from device.bundle import BUNDLE_LIMIT_BYTES, open_bundle
from device.contract import Manifest
from device.errors import BundleError, ContractError
from device.releases import durable
from device.releases.base import HealthWindow, Service
from device.releases.records import Journal, ReleaseRecord, Step, ordered, save
from device.releases.recover import recover
from device.releases.refusals import Damaged, KnownBad, NoSpace, NoWayBack, Older, Refusal, Untrusted
from device.releases.store import BUNDLE, RECORD, SIGNATURE, Release, Store
from device.releases.transaction import forget_bad, switch
from device.releases.trial import Trial, golden_trial
from device.trust.base import Verified, Verifier

_SIGNATURE_LIMIT_BYTES = 4 * 1024 * 1024
# The choice, the records, and room for a service to go on writing.
_MARGIN_BYTES = 32 * 1024 * 1024
_WINDOW = HealthWindow()
BY_HAND = "rolled back by hand"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be installed.

    Attributes:
        bundle: the ``.egb`` file, its signature beside it with ``.sig`` at the end.
        downgrade_to: an older version that is meant.
        again: also a bundle that was rolled back here.
        window: see there.
    """

    bundle: Path
    downgrade_to: str | None = None
    again: bool = False
    window: HealthWindow = _WINDOW


@dataclass(frozen=True, slots=True)
class Installed:
    """What is at work now. ``changed`` is False where it was already."""

    release: str
    name: str
    version: str
    signed: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs into a store.

    Attributes:
        store: this board's releases.
        service: runs them.
        verifier: decides whose bundles are taken.
        trial: proves a bundle here.
        tell: takes lines on the way.
    """

    store: Store
    service: Service
    verifier: Verifier
    trial: Trial = golden_trial
    tell: Callable[[str], None] = lambda line: None

    def install(self, asked: Asked) -> Installed:
        """Verify, try, switch, watch, confirm.

        Raises:
            Refusal: why not, see ``device.releases.refusals``; what ran before runs on or again.
        """
        _require_file(asked.bundle)
        with self.store.locked(), durable.refusing(str(self.store.root)):
            recover(self.store)
            self._require_space(asked.bundle)
            with _cleared(self.store.staging):
                record = self._prepare(asked)
                current = self.store.current()
                if current is not None and current.record.sha256 == record.sha256:
                    return _installed(current, changed=False)
                release = self._place(record)
            journal = Journal(
                step=Step.SWITCHING, to=release.folder.name, back=current.folder.name if current else None
            )
            switch(self.store, journal, self.service, asked.window, self.tell)
            return _installed(release, changed=True)

    def rollback(self, window: HealthWindow = _WINDOW, reason: str = BY_HAND) -> Installed:
        """Back to the release before; the one at work is not installed again unless that is asked for.

        Args:
            window: see there.
            reason: why the one at work is left, for its entry in the list of bad ones.

        Raises:
            NoWayBack: there is none.
            Unhealthy: it is not healthy, and the one at work before is at work again.
        """
        with self.store.locked(), durable.refusing(str(self.store.root)):
            recover(self.store)
            current, previous = self.store.current(), self.store.previous()
            if previous is None:
                raise NoWayBack(f"{self.store.root}: there is no release before this one; install one by its file")
            back = current.folder.name if current else None
            journal = Journal(step=Step.SWITCHING, to=previous.folder.name, back=back, by_hand=True, reason=reason)
            switch(self.store, journal, self.service, window, self.tell)
            return _installed(previous, changed=True)

    def _require_space(self, bundle: Path) -> None:
        wanted = bundle.stat().st_size + _MARGIN_BYTES
        free = shutil.disk_usage(self.store.root).free
        if free < wanted:
            raise NoSpace(
                f"{self.store.root}: {free / 1e6:.0f} MB are free, {wanted / 1e6:.0f} MB are needed; free some space, "
                "what ran before goes on running"
            )

    def _prepare(self, asked: Asked) -> ReleaseRecord:
        """Staged, verified and tried. From here on only the staged copy is looked at."""
        staging, staged = self.store.staging, self.store.staging / BUNDLE
        durable.make_folder(staging)
        sha256, size = durable.copy_file(asked.bundle, staged, BUNDLE_LIMIT_BYTES)
        signature = asked.bundle.with_name(asked.bundle.name + ".sig")
        if signature.is_file():
            durable.copy_file(signature, staging / SIGNATURE, _SIGNATURE_LIMIT_BYTES)
        with _telling_of(asked.bundle, staged):
            verified = self.verifier.verify(staged, sha256, size)
            self._require_not_bad(asked, sha256)
            with open_bundle(staged) as bundle:
                manifest = bundle.manifest
                _require_same(asked.bundle, manifest, verified)
                self._require_new(asked, manifest, verified, sha256)
                current = self.store.current()
                if current is None or current.record.sha256 != sha256:
                    self.tell(f"trying {manifest.name} {manifest.version} on this board")
                    self.trial(bundle, staging, self.tell)
        return ReleaseRecord(
            name=manifest.name,
            version=manifest.version,
            sha256=sha256,
            signed=verified.signed,
            installed_at=time.time(),
        )

    def _place(self, record: ReleaseRecord) -> Release:
        save(self.store.staging / RECORD, record)
        durable.sync_tree(self.store.staging)
        durable.make_folder(self.store.releases)
        name = f"{record.name}-{record.version}"
        # An unsigned bundle may come again with the same version: whoever trains on the board's side counts nothing up.
        names = (name, f"{name}-{record.sha256[:12]}", f"{name}-{record.sha256[:12]}-again")
        folder = next(path for path in map(self.store.releases.joinpath, names) if not path.exists())
        durable.move(self.store.staging, folder)
        return Release(folder, record)

    def _require_not_bad(self, asked: Asked, sha256: str) -> None:
        known = self.store.bad().releases.get(sha256)
        if known is None or not known.bad:
            return
        if asked.again:
            forget_bad(self.store, sha256)
            return
        raise KnownBad(
            f"{asked.bundle}: {known.name} {known.version} was rolled back here ({known.reason}); install a new "
            "version, or pass --again to try this one once more"
        )

    def _require_new(self, asked: Asked, manifest: Manifest, verified: Verified, sha256: str) -> None:
        mark = self.store.high_water().get(manifest.name)
        if mark is None or ordered(manifest.version) > ordered(mark):
            return
        older = ordered(manifest.version) < ordered(mark)
        if older and asked.downgrade_to == manifest.version:
            self.tell(f"{manifest.name} {manifest.version} is older than {mark}, and was asked for by name")
            return
        if older:
            raise Older(
                f"{asked.bundle}: {manifest.name} {manifest.version} is older than {mark}, which this board has had; "
                f"pass --downgrade-to {manifest.version} if that is meant"
            )
        there = [one for one in (self.store.current(), self.store.previous()) if one and one.record.version == mark]
        if verified.signed and any(one.record.signed and one.record.sha256 != sha256 for one in there):
            raise Older(
                f"{asked.bundle}: {manifest.name} {manifest.version} is here already with other content; "
                "publish it under a higher version"
            )


def _require_file(bundle: Path) -> None:
    if not bundle.exists():
        raise BundleError(f"{bundle}: no such file; 'edgegraft export RUN --out {bundle}' makes one")
    if not bundle.is_file():  # a pipe would be waited for, a device read without end
        raise BundleError(f"{bundle}: this is no plain file; copy the bundle here and name the copy")
    size = bundle.stat().st_size
    if size > BUNDLE_LIMIT_BYTES:
        raise Damaged(f"{bundle}: {size} bytes; a bundle has at most {BUNDLE_LIMIT_BYTES}; copy it again")


@contextmanager
def _cleared(staging: Path) -> Iterator[None]:
    """Removed at the end. Where that fails after a failure, that one is told; the next start removes it."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            durable.remove(staging)
        raise
    durable.remove(staging)


@contextmanager
def _telling_of(bundle: Path, staged: Path) -> Iterator[None]:
    """What is said of the staged copy is said of the bundle that was named: the copy is gone when it is read.

    Raises:
        Refusal: the same; Damaged where the bundle is not well formed.
    """
    try:
        yield
    except (BundleError, ContractError, Refusal) as err:
        kind = type(err) if isinstance(err, Refusal) else Damaged
        parts = str(err).split(str(staged))
        raise kind(str(bundle).join(part.replace(staged.name, bundle.name) for part in parts)) from err


def _require_same(bundle: Path, manifest: Manifest, verified: Verified) -> None:
    if verified.signed and (verified.name, verified.version) != (manifest.name, manifest.version):
        raise Untrusted(
            f"{bundle}: signed as {verified.name} {verified.version}, but its manifest says {manifest.name} "
            f"{manifest.version}; sign it again"
        )


def _installed(release: Release, changed: bool) -> Installed:
    record = release.record
    return Installed(release.folder.name, record.name, record.version, record.signed, changed)
