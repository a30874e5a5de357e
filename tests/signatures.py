"""Keys, signed bundles and enrolled boards for tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from device.trust.base import Verified, Verifier
from export.channel.keys import KeyFolder
from export.keys.folder import Passphrases, create_keys
from export.keys.sign import sign_bundle

SECRETS = Passphrases("root secret", "online secret")


def make_keys(folder: Path) -> Path:
    """A folder of keys."""
    create_keys(folder, SECRETS)
    return folder


def sign(bundle: Path, keys: Path, days: int = 365) -> Path:
    """Sign it as a person would."""
    return sign_bundle(bundle, KeyFolder(keys, SECRETS.online), days)


def verified(verifier: Verifier, bundle: Path) -> Verified:
    """What it says of the file as it is."""
    data = bundle.read_bytes()
    return verifier.verify(bundle, hashlib.sha256(data).hexdigest(), len(data))
