"""A published channel on a real web server, and bundles for it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
from bundles import colour_manifest
from static_server import StaticServer

from device.bundle import write_bundle
from device.channel.address import parse_source
from device.channel.client import ChannelClient
from device.channel.limits import Limits
from export.channel.keys import FakeKeys
from export.channel.publish import Published, publish
from export.channel.repository import Lifetimes, Repository

# What is patience on the road is only waiting in a test.
QUICK = Limits(connect_timeout_s=5, read_timeout_s=5, window_s=0.5, least_bytes=4096, pause_s=0.01)


class Publisher:
    """Who publishes into a folder, with keys of his own."""

    def __init__(self, folder: Path, models: dict[str, bytes], lifetimes: Lifetimes | None = None) -> None:
        self.keys = FakeKeys(datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=365))
        self.folder = folder
        self._models = models
        self._lifetimes = lifetimes

    @property
    def repository(self) -> Repository:
        return Repository(self.folder, self.keys, self._lifetimes)

    def bundle(self, version: str, name: str = "colours", variants: int = 4) -> Path:
        """A bundle beside the channel."""
        path = self.folder.parent / f"{name}-{version}.egb"
        if not path.exists():
            manifest, files = colour_manifest(dict(list(self._models.items())[:variants]), name)
            write_bundle(path, msgspec.structs.replace(manifest, version=version), files)
        return path

    def publish(self, version: str, rollout_percent: int | None = None, name: str = "colours") -> Published:
        return publish(self.bundle(version, name), self.repository, rollout_percent)

    def board(self, site: StaticServer, folder: Path, rate: int | None = None, limits: Limits = QUICK) -> ChannelClient:
        """A board that was enrolled with the first root."""
        return ChannelClient(parse_source(site.url), folder, self.keys.roots[0], rate, limits)
