"""What publishing asks of keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp


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


_ROLES = (Root.type, Timestamp.type, Snapshot.type, Targets.type)
