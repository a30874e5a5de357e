"""What publishing asks of keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from export.channel.errors import PublishError

_ROLES = (Root.type, Timestamp.type, Snapshot.type, Targets.type)


class ChannelKeys(Protocol):
    """Root metadata and the keys that sign from day to day."""

    @property
    def roots(self) -> Sequence[bytes]:
        """The chain of root metadata, version 1 first: what boards follow from the root they were enrolled with."""

    def sign(self, role: str, metadata: Metadata[Any]) -> None:
        """Put this role's signatures on it, in place of those that are there."""


class FakeKeys:
    """Implements ``ChannelKeys`` with fresh Ed25519 keys that live in memory. ``rotate`` replaces those of a role."""

    def __init__(self, expires: Any) -> None:
        self._signers = {role: CryptoSigner.generate_ed25519() for role in _ROLES}
        self._root = Root(expires=expires, consistent_snapshot=True)
        for role, signer in self._signers.items():
            self._root.add_key(signer.public_key, role)
        self._chain = [self._signed([self._signers[Root.type]])]

    @property
    def roots(self) -> Sequence[bytes]:
        return tuple(self._chain)

    def sign(self, role: str, metadata: Metadata[Any]) -> None:
        metadata.sign(self._signers[role])

    def rotate(self, role: str) -> None:
        """Make a new key for a role; the old one is not trusted from the next root on."""
        before = self._signers[Root.type]
        self._root.revoke_key(self._signers[role].public_key.keyid, role)
        self._signers[role] = CryptoSigner.generate_ed25519()
        self._root.add_key(self._signers[role].public_key, role)
        self._root.version += 1
        self._chain.append(self._signed([before, self._signers[Root.type]]))

    def _signed(self, signers: list[CryptoSigner]) -> bytes:
        root = Metadata(self._root)
        for signer in signers:
            root.sign(signer, append=True)
        return root.to_bytes()


class KeyFolder:
    """Implements ``ChannelKeys`` by a folder: ``N.root.json`` of every N, and ``ROLE.pem`` or ``online.pem``: private
    keys in PKCS#8, encrypted with a passphrase. The root's own key is not needed and better kept elsewhere.

    Args:
        folder: see above.
        passphrase: of the keys; empty where they have none.

    Raises:
        PublishError: something is missing, or the passphrase is wrong.
    """

    def __init__(self, folder: Path, passphrase: str = "") -> None:
        self._folder = folder
        count = 0
        while (folder / f"{count + 1}.root.json").is_file():
            count += 1
        if not count:
            raise PublishError(f"{folder}: no 1.root.json; 'edgegraft keys create {folder}' makes keys")
        self._roots = tuple((folder / f"{number}.root.json").read_bytes() for number in range(1, count + 1))
        self._root: Root = Metadata[Root].from_bytes(self._roots[-1]).signed
        self._signers = {role: self._load(role, passphrase.encode() or None) for role in _ROLES if role != Root.type}

    @property
    def roots(self) -> Sequence[bytes]:
        return self._roots

    def sign(self, role: str, metadata: Metadata[Any]) -> None:
        metadata.sign(self._signers[role])

    def _load(self, role: str, passphrase: bytes | None) -> CryptoSigner:
        path = self._folder / f"{role}.pem"
        path = path if path.is_file() else self._folder / "online.pem"
        try:
            private = load_pem_private_key(path.read_bytes(), passphrase)
            signer = CryptoSigner(private)
        except OSError as err:
            raise PublishError(f"{path}: {err.strerror}; expected the private key for '{role}'") from err
        except (TypeError, ValueError) as err:  # without the cause: it may quote the key
            raise PublishError(f"{path}: the passphrase is wrong or missing, or it is no private key in PEM") from err
        if signer.public_key.keyid not in self._root.roles[role].keyids:
            raise PublishError(f"{path}: not a key that the newest root metadata names for '{role}'")
        return signer
