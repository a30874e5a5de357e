"""The question an installer asks before anything in a bundle is parsed: is this file signed by someone trusted here?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from device.releases.refusals import Unsigned


@dataclass(frozen=True, slots=True)
class Verified:
    """What is known of a bundle's origin.

    Attributes:
        signed: by a key that this board trusts; False only where unsigned bundles were allowed.
        name, version: that the signature vouches for, empty where unsigned; the manifest must say the same.
        expires: ISO 8601, of the signature; empty where unsigned.
    """

    signed: bool
    name: str = ""
    version: str = ""
    expires: str = ""


class Verifier(Protocol):
    """Decides about a file by its content."""

    def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
        """Look for a signature over exactly this content.

        Args:
            bundle: where the file was found; the signature lies beside it as ``<bundle>.sig``.
            sha256: of the bytes that will be installed, in hex.
            size_bytes: of the same.

        Raises:
            Unsigned: there is no signature.
            Untrusted: a wrong one, or of a key that is not trusted (any more).
            Expired: it was good once.
        """


class AllowUnsigned:
    """``--allow-unsigned``: a good signature counts, none is let pass, a wrong one is still refused.

    Args:
        verifier: the board's, or None where it has no trust root.
    """

    def __init__(self, verifier: Verifier | None = None) -> None:
        self._verifier = verifier

    def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
        if self._verifier is None:
            return Verified(signed=False)
        try:
            return self._verifier.verify(bundle, sha256, size_bytes)
        except Unsigned:
            return Verified(signed=False)


class FakeVerifier:
    """Answers by the content's sha256; everything else is unsigned."""

    def __init__(self, known: dict[str, Verified]) -> None:
        self._known = known

    def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
        if sha256 not in self._known:
            raise Unsigned(f"{bundle}: not signed; sign it with 'edgegraft export --sign', or pass --allow-unsigned")
        return self._known[sha256]
