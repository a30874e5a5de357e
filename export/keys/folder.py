"""A folder of keys: made, rotated, looked at.

``root.pem`` names all other keys and is needed for nothing else: keep it on a stick in a drawer. ``online.pem`` signs
bundles and channels. ``N.root.json`` is the chain of root metadata, of which a board is enrolled with any: it follows
the chain to the newest. Private keys are PKCS#8, encrypted with a passphrase.
"""

from __future__ import annotations

import os
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

from export.errors import ExportError

ONLINE_ROLES = ("timestamp", "snapshot", "targets")
# A board stands for years, and a root that has expired can only be replaced there by hand.
ROOT_DAYS = 3650


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
class KeysReport:
    """What a folder holds: the newest root's version, its end (ISO 8601), and key ids by role."""

    folder: str
    root_version: int
    expires: str
    keys: dict[str, list[str]]


def create_keys(folder: Path, passphrases: Passphrases, kind: KeyKind = KeyKind.ED25519) -> KeysReport:
    """Two new keys and the first root metadata.

    Raises:
        KeysError: there are keys in the folder.
    """
    if folder.exists() and any(folder.glob("*.root.json")):
        raise KeysError(f"{folder}: there are keys already; name another folder, or see 'edgegraft keys rotate'")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    root_signer, online = _new(kind), _new(kind)
    root = Root(expires=_expiry(), consistent_snapshot=True)
    root.add_key(root_signer.public_key, "root")
    for role in ONLINE_ROLES:
        root.add_key(online.public_key, role)
    _write_key(folder / "root.pem", root_signer, passphrases.root)
    _write_key(folder / "online.pem", online, passphrases.online)
    _publish(folder, root, [root_signer])
    return show_keys(folder)


def rotate_keys(folder: Path, role: KeyRole, passphrases: Passphrases, kind: KeyKind = KeyKind.ED25519) -> KeysReport:
    """A new key in place of an old one, which boards refuse as soon as they see the new root metadata.

    The root's own key is needed. Its successor is signed by both, so that boards can follow.

    Raises:
        KeysError: the root key is not there, or its passphrase is wrong.
    """
    root = _newest(folder)
    before = _load(folder / "root.pem", passphrases.root)
    if before.public_key.keyid not in root.roles["root"].keyids:
        raise KeysError(f"{folder / 'root.pem'}: not the key that the newest root metadata names")
    fresh, signers = _new(kind), [before]
    for name in ("root",) if role is KeyRole.ROOT else ONLINE_ROLES:
        for keyid in list(root.roles[name].keyids):
            root.revoke_key(keyid, name)
        root.add_key(fresh.public_key, name)
    root.version += 1
    root.expires = _expiry()
    path, passphrase = (
        (folder / "root.pem", passphrases.root) if role is KeyRole.ROOT else (folder / "online.pem", passphrases.online)
    )
    if role is KeyRole.ROOT:
        signers.append(fresh)
    # The key first: cut short here, the old root metadata and the old key's file are still there.
    _write_key(path.with_name(path.name + ".next"), fresh, passphrase)
    _publish(folder, root, signers)
    path.with_name(path.name + ".next").replace(path)
    return show_keys(folder)


def show_keys(folder: Path) -> KeysReport:
    """What is there; no passphrase is needed."""
    root = _newest(folder)
    keys = {role: list(root.roles[role].keyids) for role in ("root", *ONLINE_ROLES)}
    return KeysReport(str(folder), root.version, root.expires.isoformat(), keys)


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
