"""A board's side of a channel: the signed metadata by tuf's own client, then the one file that this board needs."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from device.channel.address import Source
from device.channel.errors import ChannelError
from device.channel.fetcher import HttpFetcher
from device.channel.limits import Limits
from device.channel.offer import Listed, Offer, parse_offer
from device.releases.refusals import Damaged, Expired, NoSpace, Older, Untrusted
from device.trust.base import Verified

# What a channel of some dozen releases needs is a tenth of it.
_CONFIG = UpdaterConfig(
    max_root_rotations=64,
    root_max_length=64_000,
    timestamp_max_length=16_000,
    snapshot_max_length=64_000,
    targets_max_length=1_000_000,
)
_LEFT_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024


class ChannelClient:
    """Polls one channel.

    Args:
        source: where it lies.
        folder: for what this client remembers of it, and for files on their way; not the service's to write.
        root: the root metadata that this board was enrolled with.
        rate: bytes a second at most; None for no limit.
        limits: see there.
    """

    def __init__(
        self, source: Source, folder: Path, root: bytes, rate: int | None = None, limits: Limits | None = None
    ) -> None:
        self._source = source
        # Another channel has versions of its own.
        self._metadata = folder / "metadata" / hashlib.sha256(source.url.encode()).hexdigest()[:16]
        self._files = folder / "fetch"
        self._fetcher = HttpFetcher(source, rate, limits)
        with _refusals(source.name):
            self._updater = Updater(
                str(self._private(self._metadata)), source.url, None, None, self._fetcher, _CONFIG, bootstrap=root
            )

    def __enter__(self) -> ChannelClient:
        return self

    def __exit__(self, *exit_info: object) -> None:
        self._fetcher.__exit__(*exit_info)

    @property
    def roots(self) -> list[bytes]:
        """The chain of root metadata that has led to the newest, version by version."""
        history = (self._metadata / "root_history").glob("*.root.json")
        return [path.read_bytes() for path in sorted(history, key=lambda path: int(path.name.partition(".")[0]))]

    @property
    def expires(self) -> datetime:
        """When what was refreshed ends."""
        return Metadata[Timestamp].from_file(str(self._metadata / "timestamp.json")).signed.expires

    def refresh(self) -> list[Listed]:
        """What the channel holds now. Of an unchanged one two small answers are fetched.

        Raises:
            ChannelError: not reached, or it holds something that is no bundle of ours.
            Expired, Older, Untrusted: the metadata is too old, older than what was seen before, not rightly signed.
        """
        with _refusals(self._source.name):
            self._updater.refresh()
            self._settle()
            # Verified and kept a moment ago; each target is taken from what the client has verified.
            names = Metadata[Targets].from_file(str(self._metadata / "targets.json")).signed.targets
            targets = [self._updater.get_targetinfo(name) for name in sorted(names)]
        return [Listed(parse_offer(target), target) for target in targets if target is not None]

    def fetch(self, listed: Listed, progress: Callable[[int], None] = lambda count: None) -> Path:
        """Fetch a file, or the rest of it, and return the bundle in it, unpacked and checked against the metadata.

        Args:
            progress: called with the bytes that came.

        Raises:
            ChannelError: it broke off; the part that came is kept.
            Damaged: what came is not what the metadata announces.
            NoSpace: there is not enough for it.
        """
        folder, target, offer = self._private(self._files), listed.target, listed.offer
        bundle = folder / f"{offer.sha256}.egb"
        partial = folder / f"{target.hashes['sha256']}.part"
        for old in folder.iterdir():
            if old not in (bundle, partial):
                old.unlink()
        had = partial.stat().st_size if partial.exists() else 0
        packed = 0 if offer.packing == "none" else offer.size_bytes
        _require_space(folder, target.length - had + packed)
        with _refusals(self._source.name):
            self._fetcher.resume(target.get_prefixed_paths()[0], partial, target.length, progress)
            try:
                with partial.open("rb") as stream:
                    target.verify_length_and_hashes(stream)
            except LengthOrHashMismatchError:
                partial.unlink()
                raise
        _unpack(partial, bundle, offer)
        return bundle

    def forget(self) -> None:
        """Remove fetched files, once they are installed or refused for good."""
        shutil.rmtree(self._files, ignore_errors=True)

    def _settle(self) -> None:
        """tuf's client replaces files without syncing them: after a power cut they must not be older than others."""
        for path in [*self._metadata.glob("*.json"), self._metadata]:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @staticmethod
    def _private(folder: Path) -> Path:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


class ChannelVerifier:
    """Implements ``Verifier`` by the verified metadata of a channel: exactly the bundle that was offered.

    Args:
        offer: from it.
        channel: its name, for messages.
    """

    def __init__(self, offer: Offer, channel: str) -> None:
        self._offer = offer
        self._channel = channel

    def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
        """See ``Verifier.verify``."""
        if (sha256, size_bytes) != (self._offer.sha256, self._offer.size_bytes):
            raise Untrusted(
                f"{bundle}: sha256 {sha256}, {size_bytes} bytes; {self._channel} offers {self._offer.sha256}, "
                f"{self._offer.size_bytes} bytes; it was changed here"
            )
        return Verified(signed=True, name=self._offer.name, version=self._offer.version)


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    try:
        yield
    except ExpiredMetadataError as err:
        raise Expired(
            f"{name}: its metadata has expired ({err}); whoever publishes runs 'edgegraft publish --renew'; "
            "check this board's clock too"
        ) from err
    except BadVersionNumberError as err:
        raise Older(f"{name}: its metadata is older than what this board has seen before ({err})") from err
    except UnsignedMetadataError as err:
        raise Untrusted(f"{name}: its metadata is not signed by keys that this board trusts ({err})") from err
    except LengthOrHashMismatchError as err:
        raise Damaged(f"{name}: a file is not what the signed metadata says ({err})") from err
    except RepositoryError as err:
        raise Untrusted(f"{name}: its metadata is not valid ({err})") from err
    except DownloadError as err:
        raise ChannelError(str(err)) from err


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _LEFT_BYTES:
        raise NoSpace(f"{folder}: {free} bytes are free, {needed + _LEFT_BYTES} are needed; free some space")


def _unpack(partial: Path, bundle: Path, offer: Offer) -> None:
    if offer.packing == "none":
        _require(offer, *_digest(partial), partial)
        partial.replace(bundle)
        return
    fresh = bundle.with_name(f".{bundle.name}.new")
    try:
        with lzma.open(partial) as packed, fresh.open("wb") as stream:
            _copy(packed, stream, offer.size_bytes + 1)
    except (lzma.LZMAError, EOFError) as err:
        partial.unlink()
        raise Damaged(f"{offer.name} {offer.version}: cannot be unpacked ({err}); publish it again") from err
    _require(offer, *_digest(fresh), fresh)
    fresh.replace(bundle)


def _copy(packed: BinaryIO | lzma.LZMAFile, stream: BinaryIO, most: int) -> None:
    # Never more than was announced: a small file could fill the disk.
    while most > 0 and (piece := packed.read(min(most, _CHUNK_BYTES))):
        stream.write(piece)
        most -= len(piece)


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while piece := stream.read(_CHUNK_BYTES):
            digest.update(piece)
        return digest.hexdigest(), stream.tell()


def _require(offer: Offer, sha256: str, size_bytes: int, path: Path) -> None:
    if (sha256, size_bytes) != (offer.sha256, offer.size_bytes):
        path.unlink()
        raise Damaged(
            f"{offer.name} {offer.version}: unpacked it has sha256 {sha256} and {size_bytes} bytes, announced are "
            f"{offer.sha256} and {offer.size_bytes}; publish it again"
        )
