"""From what a board believes to the verifier that decides for it."""

from __future__ import annotations

from pathlib import Path

from device.releases.refusals import Unsigned
from device.trust.base import AllowUnsigned, Verified, Verifier


class TrustsNobody:
    """A board without a trust root: nothing can be verified here."""

    def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
        raise Unsigned(
            "this board has no trust root, so no bundle can be verified; pass --allow-unsigned to install all the same"
        )


def verifier_for(trust: Path, allow_unsigned: bool) -> Verifier:
    """The verifier of a board.

    Args:
        trust: the folder of its trust root.
        allow_unsigned: let bundles without a signature pass.
    """
    if (trust / "root.json").is_file():
        from device.trust.tuf_verifier import TufVerifier  # loads cryptography: what merely runs needs none of it

        verifier: Verifier = TufVerifier(trust)
        return AllowUnsigned(verifier) if allow_unsigned else verifier
    return AllowUnsigned() if allow_unsigned else TrustsNobody()
