"""A folder of keys: made, rotated, looked at.

``root.pem`` names all other keys and is needed for nothing else: keep it on a stick in a drawer. Several root keys are
``root-1.pem``, ``root-2.pem`` and so on, each for a drawer of its own: so many of them as the threshold says must come
together, so that one that is stolen does nothing and one that is lost stops nothing. ``online.pem`` signs
bundles and channels. ``N.root.json`` is the chain of root metadata, of which a board is enrolled with any: it follows
the chain to the newest. Private keys are PKCS#8, encrypted with a passphrase.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from device.errors import UsageError
from export.errors import ExportError

ONLINE_ROLES = ("timestamp", "snapshot", "targets")
# A board stands for years, and a root that has expired can only be replaced there by hand.
ROOT_DAYS = 3650
_MOST_ROOT_KEYS = 9


class KeysError(ExportError):
    """Keys that are missing, locked, or there already."""


class KeyKind(Enum):
    """The algorithm of new keys."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256"


class KeyRole(Enum):
    """ROOT names the other keys, ONLINE signs bundles and channels."""

    ROOT = "root"
    ONLINE = "online"


@dataclass(frozen=True, slots=True)
class Passphrases:
    """Of the two private keys; empty: not encrypted."""

    root: str
    online: str


@dataclass(frozen=True, slots=True)
class RootKeys:
    """How many root keys there are, and how many of them must sign.

    Raises:
        UsageError: more signatures than keys, or none.
    """

    keys: int = 1
    threshold: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= self.keys <= _MOST_ROOT_KEYS:
            raise UsageError(
                f"{self.threshold} of {self.keys} root keys must sign; expected 1 to {_MOST_ROOT_KEYS} keys and a "
                "threshold of 1 to as many, e.g. --root-keys 3 --threshold 2"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Of their files."""
        return ("root.pem",) if self.keys == 1 else tuple(f"root-{one}.pem" for one in range(1, self.keys + 1))


_ONE = RootKeys()


@dataclass(frozen=True, slots=True)
class KeysReport:
    """What a folder holds: the newest root's version, its end (ISO 8601), how many root keys must sign, and key ids by
    role."""

    folder: str
    root_version: int
    expires: str
    threshold: int
    keys: dict[str, list[str]]


def create_keys(
    folder: Path, passphrases: Passphrases, kind: KeyKind = KeyKind.ED25519, roots: RootKeys = _ONE
) -> KeysReport:
    """Two new keys and the first root metadata.

    Raises:
        KeysError: there are keys in the folder.
    """
    if folder.exists() and any(folder.glob("*.root.json")):
        raise KeysError(f"{folder}: there are keys already; name another folder, or see 'edgegraft keys rotate'")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    signers, online = {name: _new(kind) for name in roots.names}, _new(kind)
    root = Root(expires=_expiry(), consistent_snapshot=True)
    for signer in signers.values():
        root.add_key(signer.public_key, "root")
    root.roles["root"].threshold = roots.threshold
    for role in ONLINE_ROLES:
        root.add_key(online.public_key, role)
    for name, signer in signers.items():
        _write_key(folder / name, signer, passphrases.root)
    _write_key(folder / "online.pem", online, passphrases.online)
    _publish(folder, root, list(signers.values()))
    return show_keys(folder)


def rotate_keys(folder: Path, role: KeyRole, passphrases: Passphrases, kind: KeyKind = KeyKind.ED25519) -> KeysReport:
    """New keys in place of a role's old ones, which boards refuse as soon as they see the new root metadata.

    As many root keys as must sign are needed. Their successors, as many as there were, sign as well, so that boards can
    follow.

    Raises:
        KeysError: too few root keys are here, or their passphrase is wrong.
    """
    root = _newest(folder)
    signers = _root_signers(folder, root, passphrases.root)
    if role is KeyRole.ROOT:
        about = RootKeys(len(root.roles["root"].keyids), root.roles["root"].threshold)
        fresh = {name: _new(kind) for name in about.names}
        _replace(root, "root", list(fresh.values()))
        signers += fresh.values()
        passphrase = passphrases.root
    else:
        fresh = {"online.pem": _new(kind)}
        for name in ONLINE_ROLES:
            _replace(root, name, list(fresh.values()))
        passphrase = passphrases.online
    root.version += 1
    root.expires = _expiry()
    # The keys first: cut short here, the old root metadata and the old keys' files are still there.
    for name, signer in fresh.items():
        _write_key(folder / f"{name}.next", signer, passphrase)
    _publish(folder, root, signers)
    for name in fresh:
        (folder / f"{name}.next").replace(folder / name)
    return show_keys(folder)


def show_keys(folder: Path) -> KeysReport:
    """What is there; no passphrase is needed."""
    root = _newest(folder)
    keys = {role: list(root.roles[role].keyids) for role in ("root", *ONLINE_ROLES)}
    return KeysReport(str(folder), root.version, root.expires.isoformat(), root.roles["root"].threshold, keys)


def root_chain(folder: Path) -> list[bytes]:
    """The root metadata, version 1 first.

    Raises:
        KeysError: there is none.
    """
    chain: list[bytes] = []
    while (path := folder / f"{len(chain) + 1}.root.json").is_file():
        chain.append(path.read_bytes())
    if not chain:
        raise KeysError(f"{folder}: no 1.root.json; 'edgegraft keys create {folder}' makes keys")
    return chain


def _newest(folder: Path) -> Root:
    return Metadata[Root].from_bytes(root_chain(folder)[-1]).signed


def _root_signers(folder: Path, root: Root, passphrase: str) -> list[CryptoSigner]:
    """Those of the root's keys that are here."""
    about = root.roles["root"]
    names = RootKeys(len(about.keyids), about.threshold).names
    # One key alone is asked for by its name, so that its absence is told.
    here = [folder / name for name in names if len(names) == 1 or (folder / name).exists()]
    signers = [
        signer for signer in (_load(path, passphrase) for path in here) if signer.public_key.keyid in about.keyids
    ]
    if here and not signers:
        raise KeysError(f"{here[0]}: not the key that the newest root metadata names")
    if len(signers) < about.threshold:
        raise KeysError(
            f"{folder}: {len(signers)} of the root keys are here, {about.threshold} of {len(about.keyids)} must sign; "
            f"bring more of {', '.join(names)} back for this"
        )
    return signers


def _replace(root: Root, role: str, signers: Sequence[CryptoSigner]) -> None:
    for keyid in list(root.roles[role].keyids):
        root.revoke_key(keyid, role)
    for signer in signers:
        root.add_key(signer.public_key, role)


def _new(kind: KeyKind) -> CryptoSigner:
    return CryptoSigner.generate_ed25519() if kind is KeyKind.ED25519 else CryptoSigner.generate_ecdsa()


def _expiry() -> datetime:
    return (datetime.now(timezone.utc) + timedelta(days=ROOT_DAYS)).replace(microsecond=0)


def _publish(folder: Path, root: Root, signers: list[CryptoSigner]) -> None:
    metadata = Metadata(root)
    for signer in signers:
        metadata.sign(signer, append=True)
    _write(folder / f"{root.version}.root.json", metadata.to_bytes(), 0o644)


def _write_key(path: Path, signer: CryptoSigner, passphrase: str) -> None:
    encryption: KeySerializationEncryption = (
        BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    )
    private: PrivateKeyTypes = signer._private_key
    _write(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)


def _load(path: Path, passphrase: str) -> CryptoSigner:
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), passphrase.encode() or None))
    except OSError as err:
        raise KeysError(f"{path}: {err.strerror}; bring the root key back for this, it is needed") from err
    except (TypeError, ValueError) as err:  # its text may quote the key
        raise KeysError(f"{path}: the passphrase is wrong or missing, or it is no private key in PEM") from err


def _write(path: Path, data: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    fresh.replace(path)
