"""A bundle into a channel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from tuf.api.metadata import TargetFile

from device.bundle import Bundle, open_bundle
from device.channel.offer import OFFER_SCHEMA, Offer, parse_offer, version_key
from export.channel.errors import PublishError
from export.channel.repository import BUNDLES, Repository
from export.channel.slim import write_packed


@dataclass(frozen=True, slots=True)
class Published:
    """What a channel offers after a publication.

    Attributes:
        channel: its folder.
        name, version: of the bundle.
        rollout_percent: of the boards, the part that may have it.
        changed: whether boards see anything new; else only the expiry was renewed.
        files: size in bytes by path.
        notes: what should be known, in sentences.
    """

    channel: str
    name: str
    version: str
    rollout_percent: int
    changed: bool
    files: Mapping[str, int]
    notes: tuple[str, ...] = ()


def publish(bundle: Path, repository: Repository, rollout_percent: int | None = None) -> Published:
    """Offer a bundle: whole, and slim for each variant. The same once more changes nothing but the expiry.

    Args:
        bundle: the file.
        repository: the channel.
        rollout_percent: of boards that may have it; None stands for what it has already, and 100 for a new one.

    Raises:
        BundleError, ContractError: the bundle is not intact.
        PublishError: an older version, or the same version with other content; the channel is as before.
    """
    with open_bundle(bundle) as opened, repository.locked(), tempfile.TemporaryDirectory() as scratch:
        manifest = opened.manifest
        state = repository.state()
        listed = dict(state.listed or {})
        offers = {path: parse_offer(target) for path, target in listed.items()}
        digest = TargetFile.from_file(bundle.name, str(bundle), ["sha256"]).hashes["sha256"]
        _require_next(opened, digest, offers)
        same = [path for path, offer in offers.items() if _is(offer, manifest.name, manifest.version)]
        percent = _percent(rollout_percent, [offers[path] for path in same])
        fresh: dict[str, TargetFile] = {}
        if same and all(repository.holds(listed[path]) for path in same):
            fresh = {path: _with_percent(listed[path], percent) for path in same}
        else:
            fresh = dict(_added(opened, digest, repository, percent, Path(scratch)))
        kept = _kept({path: offer for path, offer in offers.items() if path not in same}, manifest.name, percent)
        after = {path: listed[path] for path in kept} | fresh
        changed = after != listed
        repository.commit(state, after if changed else None)
    notes = (_DISOWNED,) if state.disowned else ()
    files = {path: target.length for path, target in fresh.items()}
    return Published(str(repository.folder), manifest.name, manifest.version, percent, changed, files, notes)


_DISOWNED = (
    "what the channel held before is signed by keys that do not count any more; it is not offered further: "
    "publish again what boards should still get"
)


def renew(repository: Repository) -> int:
    """Sign what a channel holds for another term; the number of files that it offers.

    Raises:
        PublishError: there is nothing to renew.
    """
    with repository.locked():
        state = repository.state()
        if not state.timestamp:
            raise PublishError(
                f"{repository.folder}: no channel yet; 'edgegraft publish B.egb --channel DIR' makes one"
            )
        if state.disowned:
            raise PublishError(f"{repository.folder}: {_DISOWNED}")
        repository.commit(state, None)
        return len(state.listed or {})


def _require_next(bundle: Bundle, digest: str, offers: Mapping[str, Offer]) -> None:
    manifest = bundle.manifest
    for offer in offers.values():
        if offer.name != manifest.name:
            continue
        if _is(offer, manifest.name, manifest.version) and offer.variant is None and offer.sha256 != digest:
            raise PublishError(
                f"{bundle.path}: the channel offers {offer.name} {offer.version} already, with other content; "
                "export it under a higher version"
            )
        if version_key(offer.version) > version_key(manifest.version):
            raise PublishError(
                f"{bundle.path}: version {manifest.version}; the channel offers {offer.version} already, and boards "
                "do not go back. Export it under a higher version"
            )


def _percent(asked: int | None, same: list[Offer]) -> int:
    if asked is not None:
        return asked
    return same[0].rollout_percent if same else 100


def _added(
    bundle: Bundle, digest: str, repository: Repository, percent: int, scratch: Path
) -> Iterator[tuple[str, TargetFile]]:
    manifest = bundle.manifest
    stem = f"{BUNDLES}/{manifest.name}-{manifest.version}"
    whole = Offer(
        schema=OFFER_SCHEMA,
        name=manifest.name,
        version=manifest.version,
        rollout_percent=percent,
        sha256=digest,
        size_bytes=bundle.path.stat().st_size,
    )
    yield f"{stem}.egb", repository.add(bundle.path, f"{stem}.egb", _custom(whole))
    for variant in manifest.variants:
        slim, packed = scratch / "slim.egb", scratch / "slim.egb.xz"
        write_packed(bundle, variant, slim, packed)
        data = slim.read_bytes()
        about = msgspec.structs.replace(
            whole, variant=variant.name, packing="xz", sha256=sha256(data).hexdigest(), size_bytes=len(data)
        )
        path = f"{stem}.{variant.name}.egb.xz"
        yield path, repository.add(packed, path, _custom(about))


def _custom(offer: Offer) -> dict[str, Any]:
    custom: dict[str, Any] = msgspec.to_builtins(offer)
    return custom


def _with_percent(target: TargetFile, percent: int) -> TargetFile:
    custom = {**target.custom, "rollout_percent": percent}
    return TargetFile(target.length, target.hashes, target.path, {**target.unrecognized_fields, "custom": custom})


def _kept(offers: Mapping[str, Offer], name: str, percent: int) -> list[str]:
    """Beside the release that ``percent`` of boards may have: every older one down to the newest that all may have."""
    paths = [path for path, offer in offers.items() if offer.name != name]
    for old in sorted({one.version for one in offers.values() if one.name == name}, key=version_key, reverse=True):
        if percent >= 100:
            break
        same = [path for path, offer in offers.items() if _is(offer, name, old)]
        percent = offers[same[0]].rollout_percent
        paths += same
    return paths


def _is(offer: Offer, name: str, version: str) -> bool:
    return (offer.name, offer.version) == (name, version)
