"""A store of releases with small bundles of several versions, and what must be true of it after any fault."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from device.bundle import open_bundle, write_bundle
from device.releases.base import FakeService, HealthWindow, Service, Verdict
from device.releases.installer import Installer
from device.releases.store import Store
from device.releases.trial import FakeTrial
from device.trust.base import AllowUnsigned, Verifier

BROKEN = Verdict(healthy=False, reason="no answer came")
WINDOW = HealthWindow(1.0, 0.0)


def version_of(bundle: Path, version: str, out: Path, **changes: object) -> Path:
    """The same bundle under another version."""
    with open_bundle(bundle) as opened:
        manifest = msgspec.structs.replace(opened.manifest, version=version, **changes)
        files = {entry.name: opened.read(entry) for entry in opened.manifest.files()}
    write_bundle(out, manifest, files)
    return out


def installer(
    root: Path, *verdicts: Verdict, verifier: Verifier | None = None, service: Service | None = None
) -> Installer:
    """One whose trial is quick and whose service is told what becomes of it."""
    return Installer(Store(root), service or FakeService(verdicts), verifier or AllowUnsigned(), FakeTrial())


def require_good(store: Store, *versions: str) -> str:
    """``current`` leads to a whole release of one of these versions, and nothing else lies about; which one."""
    current = store.current()
    assert current is not None
    assert current.record.version in versions
    assert hashlib.sha256(current.bundle.read_bytes()).hexdigest() == current.record.sha256
    with open_bundle(current.bundle) as bundle:
        assert bundle.manifest.version == current.record.version
    assert store.journal() is None
    assert not store.staging.exists()
    kept = {one.folder.name for one in (current, store.previous()) if one}
    assert {folder.name for folder in store.releases.iterdir()} == kept
    return current.record.version
