"""One bundle signed as a file beside it, for boards that are reached without a channel."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tuf.api.metadata import Metadata, TargetFile, Targets

from device.bundle import open_bundle
from device.trust.signature import Signature, signature_path, write_signature
from export.channel.keys import ChannelKeys

DAYS = 365


def sign_bundle(bundle: Path, keys: ChannelKeys, days: int = DAYS) -> Path:
    """Write ``<bundle>.sig``.

    Args:
        bundle: an intact ``.egb``.
        keys: its root chain goes into the file, so that a board can follow to the newest.
        days: for how long boards install it; what is installed runs on.

    Returns:
        The signature's path.

    Raises:
        BundleError, ContractError: the bundle is not intact.
    """
    with open_bundle(bundle) as opened:
        name, version = opened.manifest.name, opened.manifest.version
    data = bundle.read_bytes()
    target = TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, f"{name}-{version}.egb")
    target.unrecognized_fields["custom"] = {"name": name, "version": version}
    expires = (datetime.now(timezone.utc) + timedelta(days=days)).replace(microsecond=0)
    metadata = Metadata(Targets(expires=expires, targets={target.path: target}))
    keys.sign(Targets.type, metadata)
    path = signature_path(bundle)
    chain = tuple(root.decode() for root in keys.roots)
    write_signature(path, Signature(schema=1, roots=chain, targets=metadata.to_bytes().decode()))
    return path
