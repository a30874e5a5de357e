"""Signatures beside bundles, checked with The Update Framework's metadata; https://theupdateframework.io."""

from __future__ import annotations

from pathlib import Path

from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Targets

from device.releases.refusals import Untrusted
from device.trust.base import Verified
from device.trust.root import PARSE_ERRORS, require_current, trusted_root
from device.trust.signature import read_signature, signature_path


class TufVerifier:
    """Implements ``Verifier`` by a board's trust root.

    Args:
        trust: the folder of ``root.json``; newer roots that follow from it are kept there, and with them what they
            revoke.
    """

    def __init__(self, trust: Path) -> None:
        self._trust = trust

    def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
        """See ``Verifier.verify``."""
        signature = read_signature(signature_path(bundle))
        root = trusted_root(self._trust, [text.encode() for text in signature.roots])
        try:
            metadata = Metadata[Targets].from_bytes(signature.targets.encode())
            root.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
            targets = metadata.signed
            target = next(one for one in targets.targets.values() if one.hashes.get("sha256") == sha256)
            custom = target.unrecognized_fields["custom"]
            name, version = str(custom["name"]), str(custom["version"])
        except UnsignedMetadataError as err:
            raise Untrusted(
                f"{bundle.name}: signed by a key that this board does not trust, or not any more; sign it with the "
                "keys of the root that this board was enrolled with"
            ) from err
        except StopIteration:
            raise Untrusted(
                f"{bundle.name}: the signature is of other content; copy both again or sign again"
            ) from None
        except (*PARSE_ERRORS, RepositoryError) as err:
            raise Untrusted(f"{bundle.name}: its signature cannot be read; sign it again") from err
        if target.length != size_bytes:
            raise Untrusted(f"{bundle.name}: {size_bytes} bytes, signed were {target.length}; copy it again")
        require_current(targets.expires, f"the signature of {name} {version}", self._trust)
        return Verified(True, name, version, targets.expires.isoformat())
